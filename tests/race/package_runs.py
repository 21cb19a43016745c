"""What the packages themselves did (`packages.json`, written by packages.py), as runs of the race."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from planner.study.candidate import Candidate, Value
from tests.race.landscapes import Landscape
from tests.race.runs import Run

RESULTS = Path(__file__).with_name("packages.json")
PERMUTATIONS = 10_000


class PackageRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run of one package on one landscape, and what it chose."""

    package: str
    """Name in packages.CONTESTANTS."""
    landscape: str
    seed: int
    """Of the package where it has one, and of which repeat each launch draws."""
    names: tuple[str, ...]
    launches: tuple[tuple[Value, ...], ...]
    """Values of `names`, in order of launch. The first is the package's baseline: no flags, the defaults."""
    seen: tuple[float | None, ...]
    """The recorded output tokens/s each launch answered with; None where it failed."""
    exported: tuple[Value, ...]
    """What the package's own export says is best."""
    measured: tuple[float | None, ...]
    """The same as the package measured it; None where it failed, or says nothing about it."""
    wall_s: float


class PackageResults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    versions: dict[str, str]
    """Of the packages."""
    runs: tuple[PackageRun, ...]

    def of(self, landscape: str, package: str) -> list[PackageRun]:
        return [one for one in self.runs if (one.landscape, one.package) == (landscape, package)]


def read_results(path: Path = RESULTS) -> PackageResults:
    return msgspec.json.decode(path.read_bytes(), type=PackageResults)


def write_results(results: PackageResults, path: Path = RESULTS) -> None:
    """A line a run."""
    lines = ",\n".join(msgspec.json.encode(one).decode() for one in results.runs)
    versions = msgspec.json.encode(results.versions).decode()
    path.write_text(f'{{"versions": {versions}, "runs": [\n{lines}\n]}}\n', "utf-8")


def candidate_of(landscape: Landscape, run: PackageRun, values: Sequence[Value]) -> Candidate:
    return landscape.problem.choices.candidate(dict(zip(run.names, values, strict=True)))


def as_run(landscape: Landscape, run: PackageRun) -> Run:
    """Regret of the best of what it saw so far, its baseline too, as the race counts it for all."""
    regret, best, best_seen = [], 1.0, None
    for values, seen in zip(run.launches, run.seen, strict=True):
        if seen is not None and (best_seen is None or seen > best_seen):
            best, best_seen = landscape.regret(candidate_of(landscape, run, values)), seen
        regret.append(best)
    return Run(regret=tuple(regret), seconds=())


def exported_regret(landscape: Landscape, run: PackageRun) -> float:
    return landscape.regret(candidate_of(landscape, run, run.exported))


def mean_regret(run: Run, launches: int) -> float:
    return float(np.mean([run.after(n) for n in range(1, launches + 1)]))


def chance(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]) -> float:
    """How often means this far apart, or farther, come up when the two groups are mixed at random within each key.

    A two-sided permutation test: small where the groups do not come from one distribution.
    """
    rng = np.random.default_rng(0)
    observed, drawn = 0.0, np.zeros(PERMUTATIONS)
    for key, ones in first.items():
        pool = np.array([*ones, *second[key]])
        observed += pool[: len(ones)].mean() - pool[len(ones) :].mean()
        mixed = rng.permuted(np.tile(pool, (PERMUTATIONS, 1)), axis=1)
        drawn += mixed[:, : len(ones)].mean(axis=1) - mixed[:, len(ones) :].mean(axis=1)
    return float(np.mean(np.abs(drawn) >= abs(observed) - 1e-12))
