"""Secrets: which names hold them, and texts without their values. A secret's value is never written: not to a study,
its storage, an export, nor the log of an engine that prints its environment.

In: names and values of environment variables and flags, and the output of engines and servers. Out: whether a name is
secret; a ValueError that says what to write instead; the same text with `<NAME>` in place of our environment's values.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from planner.files.secret_words import carries_secret, has_user_info, is_secret, is_secret_key, secret_parts

_ASSIGNED = re.compile(r"(?:^-e|^|[\s;&|=])([A-Za-z_][A-Za-z0-9_]{0,200})=(?!\$)\S")
SECRET_FLAGS = {"--api-key": "VLLM_API_KEY", "--hf-token": "HF_TOKEN"}
"""Flags of `vllm serve` whose value is a secret -> the environment variable that can replace the flag."""
ORDINARY_FLAGS = ("--allow-credentials",)
"""Flags that are named like secrets and are none."""
LEAST_ABBREVIATION = len("--api-k")
"""Least characters of an abbreviated flag that is taken for one of SECRET_FLAGS."""
LEAST_LENGTH = 8
"""Least characters of a value to redact; shorter ones (EMPTY, 1) occur in any log as ordinary words."""
PIECE_BYTES = 1 << 20


def refuse_secrets(variables: Mapping[str, str], args: Sequence[str], command: Sequence[str] = ()) -> None:
    """Raise ValueError if a variable, flag or word would write a secret to a file, or a variable's name is not valid.

    `variables`: values by name. `args`: flags of the engine. `command`: words of the program that starts it.
    """
    for name, value in variables.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"env.{name!a}: is no name of a variable: letters, digits and _")
        if is_secret(name) or carries_secret(value) or _secret_key(value) is not None:
            raise ValueError(f"env.{name}: a secret's value is not written; name it in pass_env instead: [{name}]")
    for word in args:
        flag, _, value = word.partition("=")
        if not word.startswith("-"):
            flag, value = "", word
        if (variable := _variable_of(flag)) is not None:
            raise ValueError(f"extra_args: {flag}: a secret's value is not written; name it in pass_env: [{variable}]")
        if (key := _secret_key(value)) is not None:
            raise ValueError(f"extra_args: {key} in {flag or 'JSON'}: a secret's value is not written; use pass_env")
        if has_user_info(value):
            raise ValueError(f"extra_args: {flag or 'a URL'}: names a user; a secret's value is not written: pass_env")
        if carries_secret(value):
            raise ValueError(f"extra_args: {flag or 'a value'}: holds a key; a secret's value is not written: pass_env")
    for word in command:
        for name in _ASSIGNED.findall(word):
            if is_secret(name):
                raise ValueError(f"command: {name}=...: a secret's value is not written; name it in pass_env: [{name}]")
        for flag in (piece.partition("=")[0] for piece in word.split()):
            if (variable := _variable_of(flag)) is not None:
                raise ValueError(f"command: {flag}: a secret's value is not written; name it in pass_env: [{variable}]")
        if carries_secret(word):
            raise ValueError("command: a URL with a user, or a key: a secret's value is not written; use pass_env")


def _variable_of(flag: str) -> str | None:
    """Variable that replaces a flag whose value is a secret; None for any other flag. argparse takes abbreviations."""
    flag = flag.replace("_", "-")
    if not flag.startswith("--") or flag in ORDINARY_FLAGS or flag.startswith("--no-"):
        return None
    if len(flag) >= LEAST_ABBREVIATION:
        for whole, variable in SECRET_FLAGS.items():
            if whole.startswith(flag):
                return variable
    name = flag[2:].replace("-", "_").upper()
    return name if is_secret(name) else None


def _secret_key(text: str) -> str | None:
    """First key of a JSON argument whose value is a secret."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        waiting = [json.loads(text)]
    except (ValueError, RecursionError):
        return None
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            for key, value in part.items():
                if isinstance(value, str) and value and is_secret_key(str(key)):
                    return str(key)
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return None


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
    wanted = {*names, *(name for name, value in os.environ.items() if is_secret(name) or carries_secret(value))}
    found = {name: os.environ[name] for name in wanted if name in os.environ} | dict(further)
    pieces = {name: passwords for name, value in found.items() if (passwords := _passwords(value))}
    forms = {
        form: f"<{name}>"
        for name, whole in found.items()
        for value in (whole, *pieces.get(name, ()))
        if len(value) >= LEAST_LENGTH
        for form in (value, json.dumps(value)[1:-1], quote(value, safe=""))
    }
    return sorted(forms.items(), key=lambda pair: -len(pair[0]))


def _passwords(value: str) -> list[str]:
    """The password and keys in a value that is a URL, as written and decoded."""
    return [form for part in secret_parts(value) for form in (part, unquote(part))]


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
