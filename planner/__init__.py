"""planner: which vLLM settings fit and are fastest on the GPUs you have, and the proof.

As a library: `planner.estimate_memory`, `planner.tune`, `planner.bench`, `planner.load_study` (docs/library.md). Each
name is imported when it is first used (PEP 562), so `import planner` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from planner.version import __version__

_HOMES = {
    "estimate_memory": "planner.library",
    "tune": "planner.library",
    "bench": "planner.library",
    "load_study": "planner.library",
    "Tuned": "planner.library",
    "Answer": "planner.estimate.answer",
    "BenchAsk": "planner.benchmark.run",
    "BenchOutcome": "planner.benchmark.run",
    "InputError": "planner.errors",
    "PlannerError": "planner.errors",
    "StudySpec": "planner.study.spec",
    "Trial": "planner.trials.trial",
}
__all__ = [
    "Answer",
    "BenchAsk",
    "BenchOutcome",
    "InputError",
    "PlannerError",
    "StudySpec",
    "Trial",
    "Tuned",
    "__version__",
    "bench",
    "estimate_memory",
    "load_study",
    "tune",
]

if TYPE_CHECKING:
    from planner.benchmark import BenchAsk, BenchOutcome
    from planner.errors import InputError, PlannerError
    from planner.estimate import Answer
    from planner.library import Tuned, bench, estimate_memory, load_study, tune
    from planner.study import StudySpec
    from planner.trials import Trial
else:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
