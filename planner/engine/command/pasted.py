"""A whole line that starts vLLM, as people paste it: `read_line(words)` -> its model, version, environment and words.

Reads `vllm serve MODEL ...`, `python -m vllm.entrypoints.openai.api_server ...`, `docker run ... IMAGE ...` (podman and
nerdctl too), each with assignments before it, within `bash -c "..."`, or as one quoted text (`shell.py`). A model or
flags alone, after which `vllm serve` was lost, are read where they stand in such a text or after an assignment.
Starts nothing and looks nothing up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from planner.engine.command.arity import is_flag, positionals
from planner.engine.command.retyped import buried, retyped
from planner.engine.command.shell import ASSIGNMENT, commands, is_left_behind, split_line
from planner.engine.command.variables import Variables
from planner.errors import InputError

MODULE = "vllm.entrypoints."
PROGRAM = f"{MODULE}cli.main"
"""The module of the program `vllm` itself."""
SERVER_FILE = "/entrypoints/openai/api_server.py"
ENGINES = frozenset({"docker", "podman", "nerdctl"})
SHELLS = frozenset({"bash", "sh", "zsh", "dash"})
RUNNERS = frozenset(
    {"sudo", "env", "exec", "nohup", "time", "uv", "uvx", "numactl", "nice", "poetry", "pipenv", "conda"}
)
"""Programs that run the words after them."""
WRAPPERS = frozenset({
    "mamba", "micromamba", "srun", "timeout", "setsid", "stdbuf", "taskset", "ionice", "chrt", "mpirun", "kubectl",
    "oc", "singularity", "apptainer", "ssh", "tmux", "screen", "su", "do", "then", "else", "wsl", "wsl.exe", "nsys",
    "torchrun", "ray", "proxychains", "proxychains4", "systemd-run", "time", "watch", "pixi", "pdm", "hatch",
})  # fmt: skip
"""Programs, and words of a shell, after which a start may stand: among the words after them, or quoted as one."""
MODEL_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+|/[\w./-]+")
"""A model on the Hub, ORGANISATION/NAME, or a folder's whole path."""
VERSION_TAG = re.compile(r"v?(\d+\.\d+\.\d+(?:\.\d+)?(?:\.?(?:post|rc|dev)\d+)?)(?:[-+_].*)?")
PINNED = re.compile(r"vllm(?:\[[\w,-]*\])?==(\d+\.\d+\.\d+(?:\.\d+)?(?:\.?post\d+)?)")
"""A version as `pip install`, `uv run --with` and `uvx --from` name it."""
ENDS = re.compile(r"(\||\|\||&|&&|;|\d?>.*|<.*)")
"""Words of a shell after which the command is over."""
ALONE = frozenset({
    "detach", "interactive", "tty", "rm", "privileged", "init", "read-only", "publish-all", "no-healthcheck",
    "oom-kill-disable", "sig-proxy", "disable-content-trust", "quiet", "replace", "rmi", "no-hosts", "http-proxy",
    "help",
})  # fmt: skip
"""Options of `docker run` and `podman run` that take no value (docs.docker.com/reference/cli/docker/container/run)."""
ALONE_SHORT = frozenset("ditPq")
SANDBOXES, DOCKER_URL = frozenset({"singularity", "apptainer"}), "docker://"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartLine:
    """What a line says of the engine that it starts."""

    words: tuple[str, ...]
    """vLLM's own words, without the model."""
    model: str | None = None
    version: str | None = None
    """The version that the image's tag names; None if there is none."""
    env: Mapping[str, str] = field(default_factory=dict)
    num_gpus: int | None = None
    """How many cards the line gives to the engine; None if it does not say."""


def is_start(words: Sequence[str]) -> bool:
    """Whether these words begin a line that starts vLLM."""
    if not words:
        return False
    if _is_text(words):
        return any(_is_start_in_text(one) for one in commands(words[0])) or buried(retyped(words[0])) is not None
    words = _without_rest(words)
    return bool(words) and (_is_start(words) or (ASSIGNMENT.fullmatch(words[0]) is not None and _is_bare(words)))


def _is_text(words: Sequence[str]) -> bool:
    return len(words) == 1 and bool(re.search(r"\s", words[0].strip()))


def _without_rest(words: Sequence[str]) -> list[str]:
    """The words without what copying left behind, and with the `serve` that was lost after `vllm`."""
    found = [word for word in words if not is_left_behind(word)]
    after = found[1] if len(found) > 1 else ""
    if found and PurePosixPath(found[0]).name == "vllm" and (is_flag(after) or MODEL_NAME.fullmatch(after)):
        found.insert(1, "serve")
    return found


def _is_start_in_text(words: Sequence[str]) -> bool:
    words = _without_rest(words)
    return bool(words) and (_is_start(words) or _is_bare(words))


def _is_bare(words: Sequence[str]) -> bool:
    """Whether words are a model with flags, or flags with --model, after which `vllm serve` was lost."""
    left = _bare(words)
    has_model = bool(left) and MODEL_NAME.fullmatch(left[0]) is not None and (len(left) == 1 or is_flag(left[1]))
    flags = left if left and is_flag(left[0]) else ()
    return has_model or any(word.partition("=")[0] == "--model" for word in flags)


def _bare(words: Sequence[str]) -> list[str]:
    """The words after variables."""
    first = next((number for number, word in enumerate(words) if not ASSIGNMENT.fullmatch(word)), len(words))
    return list(words[first:])


def _is_start(words: Sequence[str]) -> bool:
    first, second = PurePosixPath(words[0]).name, words[1] if len(words) > 1 else ""
    if first in WRAPPERS:
        places = (_engine_at(words), _container_at(words), _sandbox(words), _carried(words))
        return any(place is not None for place in places)
    if ASSIGNMENT.fullmatch(words[0]) or first in RUNNERS or first in SHELLS:
        return _engine_at(words) is not None or _container_at(words) is not None or second.startswith("-")
    return (
        (first == "vllm" and second == "serve")
        or (first == "serve" and len(words) > 1)
        or (first in ENGINES and "run" in words[1:3])
        or (first == "FROM" and _sandbox(words) is not None)
        or (first in ENGINES and "exec" in words[1:3] and _engine_at(words) is not None)
        or (first.startswith("python") and (second == "-m" or second.endswith(SERVER_FILE)))
    )


def read_line(words: Sequence[str]) -> StartLine:
    """Read a line for which `is_start` holds; of a text the first command that does. Raises InputError if none does."""
    if not _is_text(words):
        return _read(_until_end(_without_rest(words)))
    if (found := _first(commands(words[0]))) is not None:
        return found
    if (text := buried(retyped(words[0]))) is not None and (found := _first(commands(text))) is not None:
        return found
    return _read(_until_end(split_line(words[0])))


def _first(several: Sequence[Sequence[str]]) -> StartLine | None:
    """The first of several commands that starts vLLM, with the variables that the ones before it set."""
    variables, version = Variables(), None
    for words in several:
        if variables.note(words):
            continue
        if words[0] == "FROM":  # of a Dockerfile, whose CMD may follow later
            version = version_of(words[1]) if len(words) > 1 else None
        version = next((match[1] for word in words if (match := PINNED.fullmatch(word)) is not None), version)
        command = variables.fill(words)
        if _is_start_in_text(command):
            found = _read(_until_end(_without_rest(command)))
            cards = found.num_gpus or _visible(variables.env)
            env = {**variables.env, **found.env}
            return replace(found, env=env, num_gpus=cards, version=found.version or version)
    return None


def _read(words: Sequence[str]) -> StartLine:
    env: dict[str, str] = {}
    while words and (match := ASSIGNMENT.fullmatch(words[0])):
        env[match[1]] = match[2]
        words = words[1:]
    version = next((match[1] for word in words if (match := PINNED.fullmatch(word)) is not None), None)
    if (at := _container_at(words)) is not None:
        found = _container(words[at:])
    elif (at := _engine_at(words)) is not None:
        found = _engine(words[at:])
    elif (sandbox := _sandbox(words)) is not None:
        found = sandbox
    elif words and PurePosixPath(words[0]).name in WRAPPERS and (carried := _carried(words)) is not None:
        found = carried
    elif words and PurePosixPath(words[0]).name in SHELLS:
        found = of_command(words)
    elif _is_bare(words):
        found = of_flags(words)
    else:
        raise InputError(f"{' '.join(words[:3])}: starts no vLLM: write vllm serve MODEL, or docker run ... IMAGE ...")
    cards = found.num_gpus or _visible(env)
    return replace(found, env={**env, **found.env}, num_gpus=cards, version=found.version or version)


def _sandbox(words: Sequence[str]) -> StartLine | None:
    """`apptainer run --nv docker://IMAGE FLAGS`, and a Dockerfile's FROM with the flags of its CMD; None otherwise."""
    first = PurePosixPath(words[0]).name if words else ""
    if first in SANDBOXES and "run" in words[1:2]:
        at = next((number for number, word in enumerate(words) if word.startswith(DOCKER_URL)), None)
    else:
        at = 1 if first == "FROM" and len(words) > 2 and "vllm" in words[1] and is_flag(words[2]) else None
    return None if at is None else replace(of_command(words[at + 1 :]), version=version_of(words[at]))


def _carried(words: Sequence[str]) -> StartLine | None:
    """The start within a word that is a text of its own: `ssh host "vllm serve MODEL"`."""
    texts = (word for word in words[1:] if re.search(r"\s", word.strip()))
    return next((found for text in texts if (found := _first(commands(text))) is not None), None)


def _until_end(words: Sequence[str]) -> list[str]:
    end = next((number for number, word in enumerate(words) if ENDS.fullmatch(word)), len(words))
    return list(words[:end])


def _engine_at(words: Sequence[str]) -> int | None:
    """Where `vllm serve` or `python -m vllm...` begins."""
    for number, word in enumerate(words):
        after = words[number + 1] if number + 1 < len(words) else ""
        name = PurePosixPath(word).name
        if (name == "vllm" and after == "serve") or (number == 0 and name == "serve"):
            return number
        if after == "-m" and number + 2 < len(words) and words[number + 2].startswith(MODULE):
            return number
        if name.startswith("python") and after.endswith(SERVER_FILE):
            return number
    return None


def _container_at(words: Sequence[str]) -> int | None:
    places = (
        number
        for number, word in enumerate(words)
        if PurePosixPath(word).name in ENGINES and "run" in words[number + 1 : number + 3]
    )
    return next(places, None)


def _engine(words: Sequence[str]) -> StartLine:
    first = PurePosixPath(words[0]).name
    skipped = 3 if words[1] == "-m" else 1 if first == "serve" else 2
    skipped += list(words[2:4]) == [PROGRAM, "serve"]
    return of_flags(words[skipped:])


def of_flags(words: Sequence[str]) -> StartLine:
    """The words after `vllm serve`, or of a container whose image starts vLLM."""
    model, left = None, []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--model" and queue:
            model = queue.pop(0)
        elif word.startswith("--model="):
            model = word.partition("=")[2]
        else:
            left.append(word)
    places = positionals(left)
    if model is None and places:
        model = left[places[0]]
        del left[places[0]]
    return StartLine(words=tuple(left), model=model)


def of_command(words: Sequence[str]) -> StartLine:
    """The command of a container: vLLM with its flags, a shell that starts it, or flags alone."""
    if words and PurePosixPath(words[0]).name in SHELLS:
        script = next((word for word in words[1:] if not word.startswith("-")), "")
        variables = Variables()
        for words_ in commands(script):
            if variables.note(words_):
                continue
            inner = variables.fill(words_)
            if _is_start(inner) or _engine_at(inner) is not None:
                found = _read(_until_end(inner))
                return replace(found, env={**variables.env, **found.env})
        return StartLine(words=())
    if (at := _engine_at(words)) is not None:
        return _engine(words[at:])
    return of_flags(words)


def version_of(image: str) -> str | None:
    """The version that an image's tag names; None for latest, nightly and other programs' tags."""
    name, colon, tag = image.rpartition(":")
    match = VERSION_TAG.fullmatch(tag)
    return match[1] if colon and match and "vllm" in name else None


def _container(words: Sequence[str]) -> StartLine:
    """`docker run OPTIONS IMAGE COMMAND`."""
    env: dict[str, str] = {}
    cards: int | None = None
    entrypoint: list[str] = []
    queue = list(words[list(words).index("run") + 1 :])
    while queue and queue[0].startswith("-"):
        name, value = _option(queue)
        if name in {"e", "env"} and (match := ASSIGNMENT.fullmatch(value)):
            env[match[1]] = match[2]
        elif name == "gpus":
            cards = cards_of(value)
        elif name == "entrypoint":
            entrypoint = split_line(value)
    if not queue:
        raise InputError(f"{' '.join(words[:2])}: names no image")
    image, command = queue[0], queue[1:]
    found = of_command([*entrypoint, *command])
    return replace(found, version=version_of(image), env={**env, **found.env}, num_gpus=cards or _visible(env))


def _option(queue: list[str]) -> tuple[str, str]:
    """Take one option of `docker run` with its value from the queue."""
    word = queue.pop(0)
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return name, value if equals or name in ALONE or not queue else queue.pop(0)
    letters = word[1:]
    while letters and letters[0] in ALONE_SHORT:
        letters = letters[1:]
    if not letters:
        return word[1:], ""
    value = letters[1:].removeprefix("=")
    return letters[0], value if value or not queue else queue.pop(0)


def cards_of(text: str) -> int | None:
    """The number of cards in `2`, `device=0,1` or `"device=0"`; None for all."""
    plain = text.strip("'\"")
    if plain.isdigit():
        return int(plain)
    match = re.search(r"device=([^\"']+)", plain)
    return len(match[1].split(",")) if match else None


def _visible(env: Mapping[str, str]) -> int | None:
    devices = env.get(VISIBLE, "")
    return len(devices.split(",")) if re.fullmatch(r"[\w-]+(,[\w-]+)*", devices) else None
