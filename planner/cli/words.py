"""Part the words of a command after which vLLM's flags may follow: planner's own options, and the words for vLLM.

vLLM's words are read later, when the version is known. A whole line that starts vLLM gives the model, the version and
the number of cards too, unless an option of planner says them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planner.errors import InputError
from planner.files import YAML_BYTES, read_text
from planner.study import STUDIES_FOLDER

STDIN = "-"
NO_START = "a text that starts no vLLM; paste vllm serve MODEL ..., docker run ... IMAGE ... or a manifest's file"
MODEL, GPU, NUM_GPUS, VERSION = "--model", "--gpu", "--num-gpus", "--vllm-version"


@dataclass(frozen=True, slots=True)
class OwnOptions:
    """The options of a command: which take no value, and which take one."""

    alone: frozenset[str]
    valued: frozenset[str]

    @classmethod
    def of(cls, parameters: Iterable[Any]) -> OwnOptions:
        alone, valued = {"--help", "-h"}, set[str]()
        for parameter in parameters:
            if parameter.param_type_name == "option":
                names = {*parameter.opts, *parameter.secondary_opts}
                (alone if parameter.is_flag else valued).update(names)
        return cls(frozenset(alone), frozenset(valued))

    @property
    def names(self) -> frozenset[str]:
        return self.alone | self.valued


@dataclass(slots=True)
class PartedWords:
    """Words of a command line by whom they are for."""

    own: list[str] = field(default_factory=list)
    vllm: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    def has(self, option: str) -> bool:
        return any(word == option or word.startswith(f"{option}=") for word in self.own)

    def value(self, option: str) -> str | None:
        """The last value of an option of planner."""
        found = None
        for number, word in enumerate(self.own):
            if word.startswith(f"{option}="):
                found = word.partition("=")[2]
            elif word == option and number + 1 < len(self.own):
                found = self.own[number + 1]
        return found


def part(words: Sequence[str], options: OwnOptions) -> PartedWords:
    """Part the words after a command's name. Raises InputError for a word that no release of vLLM knows either."""
    _refuse_dashes(words)
    is_ours = all(not word.startswith("-") or word.partition("=")[0] in options.names - {"-q"} for word in words)
    if is_ours and not any(_may_be_line(word) for word in words):
        found = PartedWords(own=list(words))  # nothing for vLLM: its table need not be read
        _give_model(found, options)
        return found
    from planner.engine import is_left_behind, is_start, read_line, value_count

    found = PartedWords()
    queue, left, lines = list(words), list[str](), list[Any]()
    while queue:
        word = queue[0]
        if is_left_behind(word):
            left += _taken(queue, 1)  # a prompt, or the blank after a backslash
        elif _is_own(queue, options):
            found.own += _taken(queue, 2 if _needs_value(word, options) else 1)
        elif word.startswith("-") and word != STDIN and not _is_text_of_flags(word):
            found.vllm += _taken(queue, 1 + value_count(queue, 0))
        elif len(word.split()) > 1 and is_start([word]):
            lines.append(read_line(_taken(queue, 1)))  # one quoted text; what follows it is not part of it
        elif is_start(queue):
            _add_line(queue, options, found)
            break
        elif _is_manifest(word):
            _add_manifest(_taken(queue, 1)[0], found)
        elif "\n" in word.strip() and not os.path.exists(word):
            raise InputError(f"command line: {word.strip()[:40]!a}: {NO_START}")
        else:
            found.own += _taken(queue, 1)
    if len(lines) > 1:
        raise InputError("command line: two lines that start vLLM; paste one")
    for line in lines:  # at last, since planner's own options win
        _add_start(line, found)
    if left and not found.vllm:  # nothing was pasted: the word was meant as something
        raise InputError(f"command line: {left[0]!r} is no word for planner; is it a variable that is not set?")
    _give_model(found, options)
    _refuse_unknown(found, options)
    return found


def _refuse_dashes(words: Sequence[str]) -> None:
    if all(word.isascii() for word in words):
        return
    from planner.engine import FOREIGN_DASHES

    for word in words:
        if word[:1] in FOREIGN_DASHES and word:
            plain = "--" + word.lstrip("-" + FOREIGN_DASHES)
            raise InputError(f"command line: {word}: {word[0]} is no hyphen; write {plain}")


def _taken(queue: list[str], count: int) -> list[str]:
    taken = queue[:count]
    del queue[:count]
    return taken


def _is_own(queue: Sequence[str], options: OwnOptions) -> bool:
    """Whether the next word is an option of planner. `-q` with a value is vLLM's quantization, alone it is ours."""
    word = queue[0]
    if word == "-q" and word in options.alone:
        return len(queue) == 1 or queue[1].startswith("-") or _may_be_line(queue[1])
    return word.startswith("-") and word.partition("=")[0] in options.names


def _is_text_of_flags(word: str) -> bool:
    """Whether one word holds a flag and its value, `--model M --port 80`, as where quotes stand around a whole line."""
    name, space, _ = word.partition(" ")
    return bool(space) and "=" not in name


def _needs_value(word: str, options: OwnOptions) -> bool:
    return "=" not in word and word in options.valued


def _may_be_line(word: str) -> bool:
    """Whether a word could begin a pasted line or be the file that holds one: cheap, and true too often."""
    name = os.path.basename(word)
    return (
        word in {"\\", "$"}
        or any(char.isspace() for char in word)
        or "=" in word
        or name.startswith("python")
        or name in _STARTS
        or _is_manifest(word)
    )


_STARTS = {
    "vllm",
    "serve",
    "docker",
    "podman",
    "nerdctl",
    "sudo",
    "env",
    "bash",
    "sh",
    "uv",
    "uvx",
    "nohup",
    "exec",
    STDIN,
}


def _is_manifest(word: str) -> bool:
    """Whether a word is a file with a compose service or a Kubernetes manifest, or standard input."""
    if word == STDIN:
        return True
    if not word.endswith((".yaml", ".yml")) or not os.path.isfile(word):
        return False
    from planner.engine import is_manifest

    return is_manifest(read_text(Path(word), YAML_BYTES))


def _add_line(words: list[str], options: OwnOptions, found: PartedWords) -> None:
    """A pasted line, with planner's options among its words where they are not vLLM's."""
    from planner.engine import is_flag_name, read_line

    line: list[str] = []
    queue = list(words)
    while queue:
        word = queue[0]
        name = word.partition("=")[0]
        if name.startswith("--") and name in options.names and not is_flag_name(name):
            found.own += _taken(queue, 2 if _needs_value(word, options) else 1)
        else:
            line += _taken(queue, 1)
    _add_start(read_line(line), found)


def _add_manifest(word: str, found: PartedWords) -> None:
    from planner.engine import is_manifest, read_line, read_manifest

    is_stdin = word == STDIN
    text = sys.stdin.read(YAML_BYTES) if is_stdin else read_text(Path(word), YAML_BYTES)
    where = "standard input" if is_stdin else word
    _add_start(read_manifest(text, where) if is_manifest(text) else read_line([f"{text.strip()} "]), found)


def _add_start(line: Any, found: PartedWords) -> None:
    """What a line that starts vLLM says, where no option of planner says it. Raises InputError without a model."""
    from planner.engine import LATEST, NEWEST, parse_version, sizes_of, tensor_parallel_words

    if not found.has(MODEL):
        if line.model is None:
            raise InputError("the pasted line names no model; add --model")
        if "$" in line.model:
            raise InputError(f"the pasted line's model is {line.model}, a variable not known here; add --model")
        found.own += [MODEL, line.model]
    if line.version is not None and not found.has(VERSION):
        found.own += [VERSION, line.version]
    asked = found.value(VERSION)
    version = NEWEST if asked in {None, LATEST} else parse_version(str(asked))
    tensor, needed = sizes_of((*line.words, *found.vllm), version)
    if not found.has(NUM_GPUS):
        found.own += [NUM_GPUS, str(line.num_gpus or needed)]
    found.vllm[:0] = [*line.words, *(tensor_parallel_words() if tensor is None else ())]  # what is typed wins, as last
    found.env |= line.env


def _give_model(found: PartedWords, options: OwnOptions) -> None:
    """A word beside --gpu that names a model is the model: `planner estimate --gpu H200 Qwen/Qwen3-8B`."""
    if not found.has(GPU) or found.has(MODEL) or MODEL not in options.names:
        return
    places = [
        n for n, word in enumerate(found.own) if not word.startswith("-") and not _is_value(found.own, n, options)
    ]
    if len(places) == 1 and _is_model(found.own[places[0]]):
        found.own.insert(places[0], MODEL)


def _is_value(words: Sequence[str], number: int, options: OwnOptions) -> bool:
    return number > 0 and _needs_value(words[number - 1], options)


def _is_model(word: str) -> bool:
    """Whether a word is no path of a study but a model: its folder, a shipped name, or ORGANISATION/NAME on the Hub."""
    if os.path.exists(word):
        return os.path.isfile(os.path.join(word, "config.json"))
    from planner.model import is_shipped

    return is_shipped(word) or (
        re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", word) is not None and not word.startswith(f"{STUDIES_FOLDER}/")
    )


def _refuse_unknown(found: PartedWords, options: OwnOptions) -> None:
    """Raises InputError that names every word which neither planner nor any release of vLLM knows."""
    from planner.engine import LATEST, NEWEST, parse_version, read_flags, release_of, unknown_anywhere, unknown_words

    if unknown := unknown_anywhere(found.vllm):
        asked, own = found.value(VERSION), sorted(options.names)
        version = NEWEST if asked in {None, LATEST} else parse_version(str(asked))
        if asked is not None or found.has(MODEL):
            read_flags(found.vllm, version, own=own)  # which names all that this version does not know
        release = release_of(version)
        raise InputError(f"command line: {unknown_words(unknown, release, own)}")
