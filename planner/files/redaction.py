"""Secrets: which names hold them, and words without their values. A value is never written: not into a study, its
storage, what is exported, nor the log of an engine that prints its environment.

In: names of environment variables and flags, and what engines and servers said. Out: whether a name is secret, a
ValueError that says what to write, the same words with `<NAME>` in place of a value of this process's environment.
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
"""Flags of `vllm serve` whose value is a secret, and the variable that says the same."""
LEAST_LENGTH = 8
"""Characters of a value that is looked for; shorter ones (EMPTY, 1) are words of any log."""
PIECE_BYTES = 1 << 20


def is_secret(variable: str) -> bool:
    """Whether an environment variable of this name holds a secret: HF_TOKEN, VLLM_API_KEY, AWS_SECRET_ACCESS_KEY."""
    return _SECRET.search(variable) is not None


def refuse_secrets(variables: Iterable[str], args: Iterable[str]) -> None:
    """Raises ValueError where one of these would have its value written in a file, or is no name of a variable."""
    for name in variables:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"env.{name!a}: is no name of a variable: letters, digits and _")
        if is_secret(name):
            raise ValueError(f"env.{name}: a secret's value is not written; name it in pass_env instead: [{name}]")
    for flag in (word.partition("=")[0] for word in args):
        variable = SECRET_FLAGS.get(flag.replace("_", "-"))
        if variable is not None:
            raise ValueError(f"extra_args: {flag}: a secret's value is not written; name it in pass_env: [{variable}]")


# --- words without them -----------------------------------------------------------------------------------------------


def redactor(names: Iterable[str] = (), further: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """What takes out of a text the values of this process's secrets, of the variables named, and `further` by name."""
    values = _values(names, further or {})

    def redacted(text: str) -> str:
        for value, name in values:
            text = text.replace(value, name)
        return text

    return redacted


def redact(text: str, names: Iterable[str] = ()) -> str:
    return redactor(names)(text)


def _values(names: Iterable[str], further: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each value as it is, as JSON and as a URL has it, with what replaces it; the longest first."""
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
    """A new file that only its owner can read, to write an engine's words into; `redact_log` opens it to others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def is_private(path: Path) -> bool:
    return not path.stat().st_mode & 0o077


def redact_log(path: Path, names: Iterable[str] = ()) -> None:
    """Take the values out of a finished log, piece by piece, and let those read it who can read its folder."""
    values = [(value.encode(), name.encode()) for value, name in _values(names, {})]
    if values:
        new = path.with_name(f".{path.name}.new")
        with path.open("rb") as old, open(private_log(new), "wb") as file:
            file.writelines(_without(iter(lambda: old.read(PIECE_BYTES), b""), values))
        new.replace(path)
    path.chmod(path.parent.stat().st_mode & 0o666)


def _without(pieces: Iterable[bytes], values: list[tuple[bytes, bytes]]) -> Iterable[bytes]:
    """What may be the beginning of a value waits for the next piece."""
    named = dict(values)
    pattern = re.compile(b"|".join(re.escape(value) for value, _ in values))
    longest = max(map(len, named))
    rest = b""
    for piece in pieces:
        text, end = rest + piece, 0
        if any(value in text for value in named):  # a search for words is fast, one by a pattern is not
            for match in pattern.finditer(text):
                yield text[end : match.start()]
                yield named[match[0]]
                end = match.end()
        keep = max(end, len(text) - longest + 1, 0)
        yield text[end:keep]
        rest = text[keep:]
    yield rest
