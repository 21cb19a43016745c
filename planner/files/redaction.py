"""Secrets: which names hold them, and texts without their values. A secret's value is never written: not to a study,
its storage, an export, nor the log of an engine that prints its environment.

In: names of environment variables and flags, and the output of engines and servers. Out: whether a name is secret; a
ValueError that says what to write instead; the same text with `<NAME>` in place of values from our environment.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

_SECRET = re.compile(r"(^|_)(TOKEN|API_KEY|ACCESS_KEY(_ID)?|SECRET|PASSWORD|PASSWD|CREDENTIALS)$", re.IGNORECASE)
SECRET_FLAGS = {"--api-key": "VLLM_API_KEY", "--hf-token": "HF_TOKEN"}
"""Flags of `vllm serve` whose value is a secret -> the environment variable that can replace the flag."""
LEAST_LENGTH = 8
"""Least characters of a value to redact; shorter ones (EMPTY, 1) occur in any log as ordinary words."""
PIECE_BYTES = 1 << 20


def is_secret(variable: str) -> bool:
    """Whether an environment variable of this name holds a secret: HF_TOKEN, VLLM_API_KEY, AWS_SECRET_ACCESS_KEY."""
    return _SECRET.search(variable) is not None


def refuse_secrets(variables: Iterable[str], args: Iterable[str]) -> None:
    """Raises ValueError if a variable or flag would write a secret to a file, or a variable's name is not valid."""
    for name in variables:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"env.{name!a}: is no name of a variable: letters, digits and _")
        if is_secret(name):
            raise ValueError(f"env.{name}: a secret's value is not written; name it in pass_env instead: [{name}]")
    for flag in (word.partition("=")[0] for word in args):
        variable = SECRET_FLAGS.get(flag.replace("_", "-"))
        if variable is not None:
            raise ValueError(f"extra_args: {flag}: a secret's value is not written; name it in pass_env: [{variable}]")


# --- texts without them -----------------------------------------------------------------------------------------------


def redactor(names: Iterable[str] = (), further: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """A function that redacts our environment's secrets, the variables in `names`, and `further` (name -> value)."""
    values = _values(names, further or {})

    def redacted(text: str) -> str:
        for value, name in values:
            text = text.replace(value, name)
        return text

    return redacted


def redact(text: str, names: Iterable[str] = ()) -> str:
    return redactor(names)(text)


def _values(names: Iterable[str], further: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs of a value (plain, JSON-escaped and URL-quoted) and its replacement `<NAME>`; longest first."""
    wanted = {*names, *filter(is_secret, os.environ)}
    found = {name: os.environ[name] for name in wanted if name in os.environ} | dict(further)
    forms = {
        form: f"<{name}>"
        for name, value in found.items()
        if len(value) >= LEAST_LENGTH
        for form in (value, json.dumps(value)[1:-1], quote(value, safe=""))
    }
    return sorted(forms.items(), key=lambda pair: -len(pair[0]))


def private_log(path: Path) -> int:
    """Open a new file that only its owner can read, for an engine's output; returns its descriptor.

    `redact_log` makes it readable for others.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def is_private(path: Path) -> bool:
    return not path.stat().st_mode & 0o077


def redact_log(path: Path, names: Iterable[str] = ()) -> None:
    """Redact a finished log, piece by piece, then give it its folder's read and write permissions."""
    values = [(value.encode(), name.encode()) for value, name in _values(names, {})]
    if values:
        new = path.with_name(f".{path.name}.new")
        with path.open("rb") as old, open(private_log(new), "wb") as file:
            file.writelines(_without(iter(lambda: old.read(PIECE_BYTES), b""), values))
        new.replace(path)
    path.chmod(path.parent.stat().st_mode & 0o666)


def _without(pieces: Iterable[bytes], values: list[tuple[bytes, bytes]]) -> Iterable[bytes]:
    """The pieces, redacted. A tail that may be the beginning of a value is held back until the next piece."""
    named = dict(values)
    pattern = re.compile(b"|".join(re.escape(value) for value, _ in values))
    longest = max(map(len, named))
    rest = b""
    for piece in pieces:
        text, end = rest + piece, 0
        if any(value in text for value in named):  # `in` is fast, a regular expression is not
            for match in pattern.finditer(text):
                yield text[end : match.start()]
                yield named[match[0]]
                end = match.end()
        keep = max(end, len(text) - longest + 1, 0)
        yield text[end:keep]
        rest = text[keep:]
    yield rest
