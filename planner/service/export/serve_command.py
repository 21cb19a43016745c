"""A trial without containers: `serve_sh`, the plain `vllm serve` lines, and `engine_yaml`, for its `--config`.

`--config` puts each key of the file onto the command line as `--key value` (FlexibleArgumentParser in the wheels 0.6.6,
0.8.5, 0.9.2, 0.10.2 and on the main branch). A key is a flag without its dashes and a value is text; only `true` is
special and gives the flag alone. Flags of other forms cannot be written. The model stays on the command line, where
every version takes it: 0.6 wants it there, and 0.9.0 has no --model that the file could set (pull request 17944).
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from typing import TypeAlias

from packaging.version import Version

from planner.engine import CONFIG_FILE_LISTS_SINCE, CONFIG_FILE_SINCE
from planner.errors import InputError
from planner.files import encode
from planner.launch import engine_args, engine_env, gpu_ids
from planner.service.export.docker_script import broken, demanded
from planner.service.export.header import header, port_plan
from planner.study import Candidate, Problem
from planner.trials import Trial

CONFIG_FILE = "engine.yaml"

Scalar: TypeAlias = str | int | float | bool


def serve_sh(problem: Problem, trial: Trial, default: Trial | None) -> str:
    """A script with one `vllm serve` per instance; if one of several ends, the others are ended too."""
    candidate = trial.candidate
    args = tuple(engine_args(problem, candidate))
    starts = [
        broken(
            [" ".join(map(shlex.quote, [*_env_words(problem, candidate, i), *problem.spec.engine.command]))
             + f" {shlex.quote(model_of(problem, candidate))}"],
            ("--port", str(problem.spec.serve.host_port + i), *args),
        )
        for i in range(candidate.layout.instances)
    ]  # fmt: skip
    head = header(problem, trial, default, port_plan(problem, candidate))
    top = f"#!/usr/bin/env bash\n{head}\nset -euo pipefail\n{demanded(problem)}"
    if len(starts) == 1:
        return f"{top}\nexec {starts[0]}\n"
    commands = "\n\n".join(f"{start} &" for start in starts)
    return f"{top}\ntrap 'jobs -pr | xargs -r kill || true' EXIT\n{commands}\n\nwait -n\n"


def engine_yaml(problem: Problem, trial: Trial, default: Trial | None) -> str:
    """The file that `vllm serve MODEL --config engine.yaml` reads. Raises InputError for what it cannot express."""
    candidate, count, port = trial.candidate, trial.candidate.layout.instances, problem.spec.serve.host_port
    if problem.version < CONFIG_FILE_SINCE:
        raise InputError(
            f"vLLM {problem.version} has no --config, it came with {CONFIG_FILE_SINCE}; use planner export --kind serve"
        )
    own_port = [] if count > 1 else ["--port", str(port)]
    config = as_config([*own_port, *engine_args(problem, candidate)], problem.version)
    starts = []
    for i in range(count):
        words = [*_env_words(problem, candidate, i), *problem.spec.engine.command, model_of(problem, candidate)]
        at = ["--port", str(port + i)] if count > 1 else []
        starts.append(f"start: {shlex.join([*words, '--config', CONFIG_FILE, *at])}")
    passed = problem.spec.engine.pass_env
    needs = f"needs in its environment: {', '.join(passed)}" if passed else ""
    return f"{header(problem, trial, default, *starts, needs)}\n{encode(config)}"


def as_config(args: Sequence[str], version: Version) -> dict[str, Scalar | list[Scalar]]:
    """The keys and values from which this version's `--config` makes these flags. Raises InputError."""
    found: dict[str, list[str]] = {}
    key = ""
    for word in args:
        if word.startswith("--"):
            key, inline, value = word.removeprefix("--").partition("=")
            if key in found:
                raise InputError(f"engine.extra_args: --{key} stands twice, which a file for --config cannot say")
            found[key] = [value] if inline else []
        elif not key or re.match(r"-\D", word):
            raise InputError(f"engine.extra_args: {word}: only flags that begin with -- can stand in {CONFIG_FILE}")
        else:
            found[key].append(word)
    if version < CONFIG_FILE_LISTS_SINCE and (several := [name for name, values in found.items() if len(values) > 1]):
        raise InputError(
            f"engine.extra_args: --{several[0]} has several values, which --config of vLLM {version} cannot read"
        )
    return {name: _value([_scalar(value) for value in values]) for name, values in found.items()}


def _value(values: list[Scalar]) -> Scalar | list[Scalar]:
    if not values:
        return True
    return values[0] if len(values) == 1 else values


def _scalar(word: str) -> Scalar:
    """A number if it is written back as the same word; anything else, also `true`, is text."""
    for kind in (int, float):
        try:
            number = kind(word)
        except ValueError:
            continue
        if str(number) == word and math.isfinite(number):
            return number
    return word


def model_of(problem: Problem, candidate: Candidate) -> str:
    """The model's directory on this host, or its name on the Hub."""
    variant = problem.spec.models[candidate.model]
    return str(variant.folder.absolute()) if variant.is_directory else variant.path


def _env_words(problem: Problem, candidate: Candidate, instance: int) -> list[str]:
    """`env NAME=VALUE ...` as words before a command; empty if there is nothing to set."""
    cards = None if problem.gpu.is_cpu else gpu_ids(problem, candidate, instance)
    env = {} if cards is None else {"CUDA_VISIBLE_DEVICES": ",".join(map(str, cards))}
    env |= engine_env(problem, candidate)
    return ["env", *(f"{name}={value}" for name, value in env.items())] if env else []
