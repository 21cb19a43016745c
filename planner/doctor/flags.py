"""Checks of the engine's program: its version, and every flag of the study against the program's own help.

An image's answer is kept under its id in the user's cache, so that each image is asked once.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from planner.doctor.check import Case, Check, skipped
from planner.engine import parse_version, release_of
from planner.errors import BackendError, InputError
from planner.files import redact
from planner.launch import ImageFacts, ProcessBackend, engine_args, given, run_to_end
from planner.study import IMAGES, StudySpec

ALL_FLAGS = "--help=all"
"""Newer versions name this option in a short help of groups (vllm@0.32.0 entrypoints/serve/utils/api_utils.py)."""
HELP_TIMEOUT_S = 300
"""Seconds to wait for the help. vLLM imports torch first: some 12 s on an idle machine, minutes on a cold disk."""
VERSION_CODE = "from importlib.metadata import version; print(version('vllm'))"


class Program(msgspec.Struct, frozen=True):
    """What the engine's program reports about itself."""

    version: str
    """Version of vLLM; empty if it is not reported."""
    flags: frozenset[str]


def read_program(case: Case, told: Callable[[str], None]) -> Program | None:
    """The program of this study; None if there is nothing to ask. Raises BackendError."""
    if case.spec is None:
        return None
    if case.backend == "process":
        told(f"asking {case.spec.engine.command[0]} for its flags")
        return _of_command(case.spec)
    if case.image is None:
        return None
    if (kept := kept_program(case.image)) is not None:
        return kept
    told(f"asking {case.image.name} for its flags, once for each image")
    return of_image(case.spec, case.image, _runtime(case))


def _runtime(case: Case) -> str | None:
    """Runtime to ask the image with: if it will have cards, its help may look for one."""
    container = case.spec.container if case.spec else None
    if container is None or not case.needs_gpus or case.docker is None or not case.gpus.cards:
        return None
    return container.runtime if container.runtime in case.docker.runtimes else None


def of_image(spec: StudySpec, image: ImageFacts, runtime: str | None = None) -> Program:
    """Read the program by running the image; the answer is kept in the cache. Raises BackendError."""

    def ask(option: str) -> str:
        ended = run_to_end(image.name, [option], env=spec.engine.env, runtime=runtime, timeout_s=HELP_TIMEOUT_S)
        return _answer(f"{image.name} {option}", ended.exit_code, ended.stdout, ended.stderr)

    told = run_to_end(image.name, ["-c", VERSION_CODE], program="python3")
    program = Program("" if told.exit_code else told.stdout.strip(), read_flags(ask))
    path = cache_path(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(program))
    return program


def version_of_image(case: Case) -> Program | None:
    """The version alone: from the tag of vLLM's own images, from an earlier answer, or asked, which takes a second.

    None if there is no image to ask. Raises BackendError.
    """
    if case.spec is None or case.image is None:
        return None
    if (kept := kept_program(case.image)) is not None:
        return kept
    repository, _, tag = case.image.name.rpartition(":")
    if repository == IMAGES and re.fullmatch(r"v\d+\.\d+\.\d+\w*", tag):
        return Program(tag, frozenset())
    told = run_to_end(case.image.name, ["-c", VERSION_CODE], program="python3")
    return Program("" if told.exit_code else told.stdout.strip(), frozenset())


def kept_program(image: ImageFacts) -> Program | None:
    """The image's earlier answer; None if there is none."""
    try:
        return msgspec.json.decode(cache_path(image).read_bytes(), type=Program)
    except (OSError, msgspec.DecodeError):
        return None


def cache_path(image: ImageFacts) -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("planner") / "programs" / f"{hashlib.sha256(image.id.encode()).hexdigest()[:24]}.json"


def _of_command(spec: StudySpec) -> Program:
    """Read the program by running the study's command. Raises BackendError."""

    def run(argv: Sequence[str]) -> str:
        try:
            ended = subprocess.run(
                argv, capture_output=True, text=True, check=False, timeout=HELP_TIMEOUT_S,
                stdin=subprocess.DEVNULL, env={**given(spec.engine.pass_env), **spec.engine.env},
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BackendError(f"{' '.join(argv)}: {error}") from None
        return _answer(" ".join(argv), ended.returncode, ended.stdout, ended.stderr)

    command = spec.engine.command
    version = run([command[0], "--version"]).split()[-1:] if command[1:] == ["serve"] else []
    return Program("".join(version), read_flags(lambda option: run([*command, option])))


def _answer(what: str, exit_code: int, stdout: str, stderr: str) -> str:
    """Standard output of a program that succeeded. Raises BackendError with the last line of what went wrong."""
    if exit_code:
        lines = (stderr.strip() or stdout.strip()).splitlines()
        raise BackendError(f"{what} ended with {exit_code}: {redact(lines[-1]) if lines else 'no words'}")
    return stdout


def read_flags(ask: Callable[[str], str]) -> frozenset[str]:
    """Every flag that the program takes; `ask` runs it with an option. Raises BackendError if its help names none."""
    text = ask("--help")
    if ALL_FLAGS in text:
        text = ask(ALL_FLAGS)
    flags = flags_in(text)
    if not flags:
        raise BackendError("its help names no flags")
    return flags


def flags_in(text: str) -> frozenset[str]:
    """The flags in argparse's help: those of its usage, and those at the head of each option's lines."""
    usage, _, rest = text.partition("\n\n")
    heads = [re.split(r"\s{2,}", line.strip())[0] for line in rest.splitlines() if re.match(r" {1,4}-", line)]
    return frozenset(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", " ".join([usage, *heads])))


def version(case: Case, program: Program | None) -> Check | None:
    name = "vLLM version"
    if case.problem is None or program is None:
        return None
    if not program.version:
        return skipped(name, "not checked: the program does not say")
    try:
        here = parse_version(program.version)
    except InputError:
        return skipped(name, f"not checked: the program calls itself {program.version}")
    if here.release != case.problem.version.release:
        finding = f"the engine is vLLM {program.version}, the study predicts for {case.problem.version}"
        return Check(
            name,
            "problem",
            finding,
            f"{case.places.change('engine.version', here.base_version)}, or take another image",
        )
    return Check(name, "ok", f"vLLM {program.version}, as the study says")


def flags(case: Case, program: Program | None) -> Check | None:
    """Check every flag that any value of the study writes, and those under engine.extra_args."""
    name = "vLLM flags"
    if case.problem is None or program is None:
        return None
    try:
        written = [engine_args(case.problem, candidate) for candidate in case.candidates]
    except InputError as error:
        return Check(name, "problem", str(error), "correct the study")
    used = {flag_name(word) for args in written for word in args if word.startswith("--")}
    unknown = sorted(used - program.flags)
    if unknown:
        near = {flag: difflib.get_close_matches(flag, program.flags, n=1) for flag in unknown}
        words = ", ".join(f"{flag} (near: {found[0]})" if found else flag for flag, found in near.items())
        fix = f"leave them out of the study, or write the {case.places.name('engine.version')} of this image"
        return Check(name, "problem", f"the engine does not know {words}", fix)
    finding = f"all {len(used)} of the study are among the engine's {len(program.flags)}"
    return Check(name, "ok", "; ".join([finding, *beside_table(program)]))


OF_HELP = frozenset({"--help", "--json-arg", "--version"})
"""Words of vLLM's help that are no flags of an engine; --json-arg is its example (vllm@0.32.0 engine/arg_utils.py)."""


def beside_table(program: Program) -> list[str]:
    """How an engine's flags differ from those of its release in planner's table: a build of its own may have others."""
    try:
        release = release_of(parse_version(program.version))
    except InputError:
        return []
    if not release.is_exact:
        return []
    more, fewer = sorted(program.flags - release.names - OF_HELP), sorted(release.names - program.flags - OF_HELP)
    words = [f"vLLM {release.version} has not its {', '.join(more)}"] if more else []
    return [*words, f"it lacks {', '.join(fewer)} of vLLM {release.version}"] if fewer else words


def flag_name(word: str) -> str:
    """A flag as the help names it.

    Takes `--max_model_len=5` and `--compilation-config.level`, which vLLM's FlexibleArgumentParser accepts.
    """
    return re.split(r"[=.]", word)[0].replace("_", "-")


def program_found(case: Case) -> Check | None:
    """Check that the command of the process backend is on PATH."""
    if case.backend != "process" or case.problem is None:
        return None
    try:
        ProcessBackend(case.problem, case.folder, case.folder)
    except BackendError as error:
        return Check("vLLM program", "problem", str(error))
    return Check("vLLM program", "ok", " ".join(case.problem.spec.engine.command))
