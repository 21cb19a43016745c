"""`planner verify SCRIPT --against IMAGE`: does the same deployment do as well with another image of vLLM?

In: an exported script, an image, the study. Out: an `Upgrade`: each judged metric of both, compared as in the finals of
a study: launched in turn, in rounds of the same prompts, the launch being the unit of evidence.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from planner.benchmark import Metric, OnStage
from planner.engine import read_start_facts
from planner.errors import BackendError, BenchmarkError, EngineError, InputError
from planner.estimate import MemoryFigures, real_figures
from planner.files import write_whole
from planner.launch import container_spec, sigterm_as_interrupt
from planner.service.verify.reproduction import ReproductionCheck, compare_memory, judged_metrics
from planner.service.verify.script import FRESH, Script, find_study_of, read_script
from planner.service.verify.started import started_script
from planner.statistics import Difference
from planner.study import Problem, Workspace, judge
from planner.terminal import BenchTable
from planner.trials import EQUAL, MOST_ROUNDS, Blocks, Repeats, least_rounds, level_for, undecided
from planner.tuning import STARTING, measure_server
from planner.units import format_duration

NOW, NEXT = 0, 1
"""Numbers of the two images, as `Blocks` takes them: the script's own, and the other."""
UpgradeVerdict = Literal["worse", "better", "the same within 1 %", "no difference seen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneLaunch:
    """One launch of the script with one of the images."""

    metrics: dict[str, float]
    """Mean of each metric over its repeats."""
    start_s: float
    memory: MemoryFigures | None
    broken: tuple[str, ...] = ()
    """Limits that it broke, in words."""
    simulated: bool = False


Launcher = Callable[[int, int], OneLaunch]
"""Launches image NOW or NEXT in a round. Raises EngineError or BenchmarkError where it does not serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One metric of both images."""

    name: str
    now: float
    next: float
    change: Difference
    """Change as a share, with its 95 % interval; wider where several metrics share the chance of a false alarm."""
    verdict: UpgradeVerdict

    @property
    def most_loss(self) -> float:
        """Largest loss as a share that the interval leaves open; 0 where it leaves none."""
        worst = -self.change.low if Metric.parse(self.name).sign > 0 else self.change.high
        return max(0.0, worst)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    study: str
    image: str
    rounds: int
    compared: tuple[Compared, ...] = ()
    memory: tuple[ReproductionCheck, ...] = ()
    start_s: tuple[float, float] | None = None
    """Mean seconds of a start with each image."""
    broken: tuple[str, ...] = ()
    """Limits that the other image broke and the script's own did not, in words."""
    failure: str | None = None
    """Why the other image does not serve; None if it does."""
    simulated: bool = False

    @property
    def hurts(self) -> list[str]:
        """What the other image makes worse; empty where nothing surely is."""
        found = [one.name for one in self.compared if one.verdict == "worse"]
        found += [f"limit broken: {words}" for words in self.broken]
        return found if self.failure is None else [f"it does not serve: {self.failure}", *found]

    @property
    def passed(self) -> bool:
        return not self.hurts and bool(self.compared)

    def document(self) -> dict[str, Any]:
        """The comparison as JSON; shares as numbers."""
        return {
            "study": self.study,
            "image": self.image,
            "hurts": self.hurts,
            "passed": self.passed,
            "rounds": self.rounds,
            "simulated": self.simulated,
            "failure": self.failure,
            "start_s": None if self.start_s is None else [round(one, 3) for one in self.start_s],
            "metrics": [
                {
                    "name": one.name,
                    "now": one.now,
                    "against": one.next,
                    "change": one.change.value,
                    "change_low": _finite(one.change.low),
                    "change_high": _finite(one.change.high),
                    "verdict": one.verdict,
                }
                for one in self.compared
            ],
            "memory": [
                {
                    "name": one.name,
                    "now": one.expected,
                    "against": one.found,
                    "change": one.change,
                    "verdict": one.verdict,
                }
                for one in self.memory
            ],
        }

    def table(self) -> BenchTable:
        rows: list[tuple[str, ...]] = [
            (
                one.name,
                Metric.parse(one.name).format(one.now),
                Metric.parse(one.name).format(one.next),
                f"{one.change.value:+.1%}",
                f"{one.change.low:+.1%} to {one.change.high:+.1%}",
                one.verdict,
            )
            for one in self.compared
        ]
        rows += [
            (one.name, one.expected, one.found, "" if one.change is None else f"{one.change:+.1%}", "", one.verdict)
            for one in self.memory
        ]
        if self.start_s is not None:
            rows.append(("start", *(format_duration(one) for one in self.start_s), "", "", ""))
        columns = ("", "script", "against", "change", "95 %", "verdict")
        return BenchTable(f"{self.study}: the script against {self.image}", columns, tuple(rows), self._conclusion())

    def _conclusion(self) -> tuple[str, ...]:
        lines = [f"{self.rounds} rounds, both in turn on the same prompts"] if self.rounds else []
        lines += ["SIMULATED engine: not a measurement"] if self.simulated else []
        if self.hurts:
            return (*lines, f"hurts: {'; '.join(self.hurts)}")
        if not self.compared:
            return (*lines, "no numbers: no judged metric was measured with both")
        better = [one.name for one in self.compared if one.verdict == "better"]
        seen = f"; better: {', '.join(better)}" if better else ""
        loss = max(self.compared, key=lambda one: one.most_loss)
        return (*lines, f"does not hurt: a loss of {loss.most_loss:.1%} of {loss.name} would not be seen{seen}")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def in_turn(problem: Problem, image: str, launch: Launcher, rounds: int | None) -> Upgrade:
    """OneLaunch both in turn, changing who is first, until every judged metric is decided.

    `rounds`: exactly so many; None: as many as the finals of two would have. Raises EngineError or BenchmarkError where
    the script's own image does not serve.
    """
    done: tuple[list[OneLaunch], list[OneLaunch]] = ([], [])
    least = most = rounds or least_rounds(2)
    most = most if rounds else MOST_ROUNDS
    for number in range(most):
        if number >= least and not _is_open(problem, done):
            break
        failure = _round(launch, done, number)
        if failure is not None:
            return Upgrade(study=problem.spec.name, image=image, rounds=number, failure=failure)
    return judged_upgrade(problem, image, done)


def _round(launch: Launcher, done: tuple[list[OneLaunch], list[OneLaunch]], number: int) -> str | None:
    """OneLaunch both once; returns why the other image does not serve, or None."""
    for which in (NOW, NEXT) if number % 2 == 0 else (NEXT, NOW):
        try:
            done[which].append(launch(which, number))
        except (EngineError, BenchmarkError) as error:
            if which == NOW:
                raise
            return str(error)
    return None


def _logs(done: Sequence[Sequence[OneLaunch]], name: str) -> dict[int, dict[int, float]]:
    """Logarithms of a metric by image and round; empty where a launch has no such figure above 0."""
    if any(launch.metrics.get(name, 0.0) <= 0 for side in done for launch in side):
        return {}
    return {which: {i: math.log(one.metrics[name]) for i, one in enumerate(done[which])} for which in (NOW, NEXT)}


def _is_open(problem: Problem, done: Sequence[Sequence[OneLaunch]]) -> bool:
    """Whether more rounds may change what is said of some judged metric."""
    named = ((name, _logs(done, name)) for name in judged_metrics(problem.objective))
    return any(undecided(logs, Metric.parse(name).sign, NOW) for name, logs in named if logs)


def judged_upgrade(problem: Problem, image: str, done: Sequence[Sequence[OneLaunch]]) -> Upgrade:
    """What the launches of both say."""
    compared, names = [], judged_metrics(problem.objective)
    for name in names:
        if not (logs := _logs(done, name)):
            continue
        gain = Blocks(logs).gain(NEXT, NOW, level_for(len(names)))
        verdict = _verdict(gain, Metric.parse(name).sign)
        means = [fmean(launch.metrics[name] for launch in side) for side in done]
        compared.append(Compared(name=name, now=means[NOW], next=means[NEXT], change=gain, verdict=verdict))
    own = {words for launch in done[NOW] for words in launch.broken}
    broken = dict.fromkeys(words for launch in done[NEXT] for words in launch.broken if not own)
    return Upgrade(
        study=problem.spec.name,
        image=image,
        rounds=len(done[NOW]),
        compared=tuple(compared),
        memory=tuple(compare_memory(done[NOW][-1].memory, done[NEXT][-1].memory)),
        start_s=(fmean(one.start_s for one in done[NOW]), fmean(one.start_s for one in done[NEXT])),
        broken=tuple(broken),
        simulated=any(launch.simulated for side in done for launch in side),
    )


def _verdict(change: Difference, sign: float) -> UpgradeVerdict:
    """The verdict on a change, of which `sign` times more is better. Less than EQUAL, surely, is no matter."""
    if change.low > -EQUAL and change.high < EQUAL:
        return "the same within 1 %"
    if not change.is_significant:
        return "no difference seen"
    return "better" if change.value * sign > 0 else "worse"


# --- real launches ---


def with_image(script: Script, problem: Problem, image: str) -> str:
    """The script's text with another image. Raises InputError if it does not name the study's."""
    own = container_spec(problem).image
    if own not in script.words:
        raise InputError(f"{script.path}: does not start {own}, the image of its study; export it anew: planner export")
    if own == image:
        raise InputError(f"--against {image}: is the image that the script starts; name another")
    return script.text.replace(own, image)


def verify_against(path: Path, image: str, study: Path | None, rounds: int | None, on_stage: OnStage) -> Upgrade:
    """Start the script with its own image and with another in turn, and compare. Raises InputError, BackendError."""
    script = read_script(path)
    spec, folder = find_study_of(script, study)
    problem, workspace = Problem.of(spec), Workspace(folder, simulated=False)
    text = with_image(script, problem, image)
    on_stage(STARTING, 0, 0)
    with workspace.locked(), sigterm_as_interrupt(), tempfile.TemporaryDirectory(prefix="planner-verify-") as place:
        other = Path(place) / path.name
        write_whole(other, text)
        sides = (script, replace(script, path=other, text=text))

        def launch(which: int, number: int) -> OneLaunch:
            repeats = Repeats(FRESH + number * spec.repeats, spec.repeats)
            with started_script(sides[which], spec, workspace.log_dir) as (server, _):
                facts = read_start_facts(server.instances[0].log_text())
                measured = measure_server(problem, problem.default, server, on_stage, repeats)
            broken = [
                c.message for result in measured.results for c in judge(problem.objective, result)[1] if c.excess > 0
            ]
            return OneLaunch(
                metrics=measured.metrics(),
                start_s=measured.start_s,
                memory=real_figures(facts),
                broken=tuple(dict.fromkeys(broken)),
                simulated=measured.simulated,
            )

        if spec.engine.compile_cache and (failure := _warmed(sides, problem, workspace)) is not None:
            return Upgrade(study=spec.name, image=image, rounds=0, failure=failure)
        try:
            return in_turn(problem, image, launch, rounds)
        except (EngineError, BenchmarkError) as error:
            raise BackendError(f"{path}: the script itself does not serve: {error}") from None


def _warmed(sides: Sequence[Script], problem: Problem, workspace: Workspace) -> str | None:
    """Start both once, so that each finds its compiled code in the first round; returns why the other does not serve.

    A start that compiles has 11 to 21 % less KV cache. Raises BackendError if the script's own does not serve.
    """
    for which, side in enumerate(sides):
        try:
            with started_script(side, problem.spec, workspace.log_dir):
                pass
        except EngineError as error:
            if which == NOW:
                raise BackendError(f"{side.path}: the script itself does not serve: {error}") from None
            return str(error)
    return None
