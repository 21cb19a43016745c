"""The doctor's quick checks before the first launch of a tuning run: seconds that may save hours.

In: a study and a backend. Out: `Check`s, of which a problem would end every launch. Asks no image for its flags and
judges no search space; `examination.py` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from planner.doctor import docker as docker_checks
from planner.doctor import flags as flag_checks
from planner.doctor import gpus as gpu_checks
from planner.doctor import host as host_checks
from planner.doctor.check import Case, Check
from planner.doctor.examination import parse_backend, read_case
from planner.doctor.models import models
from planner.errors import BackendError
from planner.study import StudySpec

VLLM = "vllm"
"""vLLM's own program."""


def quick_checks(case: Case) -> list[Check]:
    """Engine, cards, models, image and its version, space: what is wrong or doubtful of them, problems first.

    Of a program of the user's own (`engine.command`) it is not known whether it needs a card: cards are not checked.
    """
    found = [docker_checks.engine(case), host_checks.disk(case), *models(case), flag_checks.program_found(case)]
    if not _has_own_program(case):
        found += [
            docker_checks.nvidia_runtime(case),
            gpu_checks.driver(case),
            gpu_checks.cards(case),
            gpu_checks.memory(case),
            docker_checks.image(case),
            docker_checks.cuda(case),
            _version(case),
        ]
    order = {"problem": 0, "warning": 1}
    return sorted((one for one in found if one is not None and one.status in order), key=lambda one: order[one.status])


def _has_own_program(case: Case) -> bool:
    return case.backend == "process" and case.spec is not None and Path(case.spec.engine.command[0]).name != VLLM


def _version(case: Case) -> Check | None:
    try:
        return flag_checks.version(case, flag_checks.version_of_image(case))
    except BackendError as error:
        return Check("vLLM version", "warning", f"not checked: {error}")


def check_before_launch(spec: StudySpec, folder: Path, backend: str, has_file: bool = True) -> list[str]:
    """Warnings of the quick checks, a line each. `backend`: docker or process; `has_file`: see `Case`.

    Raises BackendError with all problems, or InputError for a wrong study.
    """
    case = replace(read_case(spec, folder, parse_backend(backend)), has_file=has_file)
    checks = quick_checks(case)
    if problems := [check for check in checks if check.status == "problem"]:
        raise BackendError(f"not ready: {words_of_checks(problems)}; --no-checks launches nevertheless")
    return [f"warning: {words_of_checks([check])}" for check in checks]


def words_of_checks(checks: Sequence[Check]) -> str:
    """Several findings in one line, each with its fix."""
    return "; ".join(f"{one.name}: {one.finding}{f' ({one.fix})' if one.fix else ''}" for one in checks)
