"""A scheduler for vLLM V1 whose limits can be lowered while the engine runs. This file is copied beside the engine.

It is loaded inside vLLM by `--scheduler-cls planner_live.make` and imports the standard library and vLLM alone. `make`
returns vLLM's own Scheduler or AsyncScheduler with one addition: where nothing runs, it reads `wanted.json` in the
folder that PLANNER_LIVE_FOLDER names, sets the limits, at most those of the start, and says so in `state.json`.
Whatever is not as expected leaves vLLM's own scheduler, or the limits of before, and the reason in that file.

Source: vllm/v1/core/sched/scheduler.py, Scheduler.__init__ and Scheduler.schedule, the same attributes from 0.8.5 to
0.33. A limit below the number of requests that run fails an assertion there, hence "where nothing runs".
"""

from __future__ import annotations

import json
import os
from typing import Any

FOLDER = "PLANNER_LIVE_FOLDER"
WANTED, STATE = "wanted.json", "state.json"
LIMITS = ("max_num_running_reqs", "max_num_scheduled_tokens")
"""Attributes of the scheduler that `schedule` reads at each step."""
MOST_BYTES = 65536


def make(*args: Any, **kwargs: Any) -> Any:
    """The scheduler for these arguments of vLLM's EngineCore, or of V0's LLMEngine."""
    base = _stock(args, kwargs)
    try:
        _refuse_unknown(base)
        live = type(f"Live{base.__name__}", (_Knobs, base), {})
    except Exception as error:  # noqa: BLE001  (whatever it is, the launch must be an ordinary one)
        _say({"state": "off", "reason": f"{type(error).__name__}: {error}"})
        return base(*args, **kwargs)
    return live(*args, **kwargs)


def _stock(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The class that vLLM would have taken without a --scheduler-cls."""
    config = kwargs.get("vllm_config", args[0] if args else None)
    scheduler_config = kwargs.get("scheduler_config", getattr(config, "scheduler_config", config))
    if "structured_output_manager" not in kwargs:  # V0: Scheduler(scheduler_config, cache_config, lora_config, ...)
        from vllm.core.scheduler import Scheduler as Old  # type: ignore[import-not-found]

        return Old
    if getattr(scheduler_config, "async_scheduling", False):
        from vllm.v1.core.sched.async_scheduler import AsyncScheduler  # type: ignore[import-not-found]

        return AsyncScheduler
    from vllm.v1.core.sched.scheduler import Scheduler  # type: ignore[import-not-found]

    return Scheduler


def _refuse_unknown(base: Any) -> None:
    """Raises LookupError unless the class sets both limits at its start and reads them when it schedules."""
    for method in ("__init__", "schedule"):
        codes = [vars(kind)[method].__code__ for kind in base.__mro__ if hasattr(vars(kind).get(method), "__code__")]
        for name in LIMITS:
            if not any(name in code.co_names for code in codes):
                raise LookupError(f"{base.__module__}.{base.__name__}.{method} does not know {name}")
    if not os.path.isdir(os.environ.get(FOLDER, "")):
        raise LookupError(f"{FOLDER} names no folder")


def _say(words: dict[str, Any]) -> None:
    """Write state.json whole; where that cannot be, planner sees no answer and launches as ever."""
    try:
        path = os.path.join(os.environ[FOLDER], STATE)
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump(words, file)
        os.replace(f"{path}.part", path)
    except (OSError, KeyError, TypeError, ValueError):
        return


def _version() -> str:
    import vllm  # type: ignore[import-not-found]

    return str(vllm.__version__)


class _Knobs:
    """What is added to a scheduler of vLLM."""

    max_num_running_reqs: int
    max_num_scheduled_tokens: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._planner_start: dict[str, int] | None = None
        self._planner_seen: tuple[int, int] | None = None
        try:
            self._planner_start = self._planner_now()
            self._planner_say("started", None)
        except Exception as error:  # noqa: BLE001  (the engine starts whatever this file does not understand)
            _say({"state": "off", "reason": f"{type(error).__name__}: {error}"})

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        if not self.running and self._planner_start is not None:  # type: ignore[attr-defined]
            self._planner_look()
        return super().schedule(*args, **kwargs)  # type: ignore[misc]

    def _planner_now(self) -> dict[str, int]:
        return {
            "max_num_seqs": int(self.max_num_running_reqs),
            "max_num_batched_tokens": int(self.max_num_scheduled_tokens),
            "long_prefill_token_threshold": int(self.scheduler_config.long_prefill_token_threshold),  # type: ignore[attr-defined]
        }

    def _planner_look(self) -> None:
        """Read wanted.json if it is new, and set its limits. Any error leaves those of before."""
        path = os.path.join(os.environ[FOLDER], WANTED)
        try:
            found = os.stat(path)
        except OSError:
            return  # nothing was asked yet
        if (seen := (found.st_mtime_ns, found.st_ino)) == self._planner_seen:
            return
        self._planner_seen = seen
        asked = None
        try:
            with open(path, encoding="utf-8") as file:
                wanted = json.loads(file.read(MOST_BYTES))
            asked = wanted["id"]
            self._planner_set({name: int(value) for name, value in wanted["values"].items()})
            self._planner_say("set", asked)
        except Exception as error:  # noqa: BLE001  (an engine that serves must not end for a file)
            _say({"state": "kept", "id": asked, "reason": f"{type(error).__name__}: {error}"})

    def _planner_set(self, values: dict[str, int]) -> None:
        """Set the limits; what is not named goes back to its start. Raises ValueError before anything is set."""
        start = self._planner_start or {}
        if unknown := sorted(values.keys() - start.keys()):
            raise ValueError(f"unknown: {', '.join(unknown)}")
        values = {**start, **values}
        sequences, tokens = (min(values[name], start[name]) for name in ("max_num_seqs", "max_num_batched_tokens"))
        if sequences < 1 or tokens < 1 or values["long_prefill_token_threshold"] < 0:
            raise ValueError("a limit below 1")
        self.max_num_running_reqs, self.max_num_scheduled_tokens = sequences, tokens
        if hasattr(self, "max_num_active_reqs"):  # admission, since 0.32
            self.max_num_active_reqs = sequences
        self.scheduler_config.long_prefill_token_threshold = values["long_prefill_token_threshold"]  # type: ignore[attr-defined]

    def _planner_say(self, state: str, asked: Any) -> None:
        base = type(self).__mro__[2].__name__
        _say({"state": state, "id": asked, "values": self._planner_now(), "base": base, "vllm": _version()})
