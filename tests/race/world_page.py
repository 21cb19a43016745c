"""The first part of docs/search.md: what the made worlds say, SIMULATED. `answer(runs)`, `section(runs)`.

In: stored runs in made worlds. Out: Markdown. Searchers are compared run by run: same world, same seed, same noise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from tests.race.runs import Run, percentiles
from tests.race.searchers import LABELS

RIGHT, NEEDLE = "right", "needle"
OURS, RIVALS = "planner", ("random", "tpe", "gp")
BUDGETS = (6, 12, 30)
CLOSE = 0.02
ENOUGH_SEEDS = 30
FALSE_STOP = 0.03
"""Regret added by stopping above which a stop was false."""
WAITS = (0, 1, 2, 4, 6, 8, 12)
"""Launches after the rule's end for which its cost is told."""
ByWorld = Mapping[str, Mapping[str, Mapping[int, Run]]]
"""Runs by world, searcher and seed."""

WORDS = """SIMULATED: no engine runs here. A world's truth is the speed model's own prediction for four RTX 2080 Ti at
long context times a smooth random error of 5 %, drawn anew for each seed, times the change that the world is named
after; each launch is off by 2 % (`tests/race/worlds.py`). All searchers go through the loop of a real study and are
given the same: the rules, and one combination of those that run alike. Each picks the product's best after each
launch, whose true value counts; a choice that fails counts as 100 %. What a world's combinations share with the speed
model favours us: only recorded launches of engines, below, are free of that."""
KINDS = {
    "right": "the model is right but for 5 %",
    "switch-mild": "the model says that chunked prefill costs 22 %, it gives 8 %",
    "switch-sign": "the effect of chunked prefill is turned round",
    "noisy": "launches differ by 10 %, with heavy tails",
    "upside-down": "what the model likes least is best",
    "failing": "the 30 % with the most sequences, tokens and memory does not start",
    "failing-anywhere": "30 % of the space, at random, does not start",
    "flat": "nothing matters",
    "flat-top": "nothing above the middle matters",
    "needle": "a narrow hill, 25 % above all else, where the model expects least",
    "large": "more than 10 000 combinations, the model is wrong by 10 %",
    "large-switch-mild": "as switch-mild, in more than 10 000 combinations",
}


@dataclass(frozen=True)
class Difference:
    """Mean of the paired differences of two searchers' figures."""

    mean: float
    error: float
    """Standard error of the mean; infinite for a single pair."""

    @classmethod
    def of(cls, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference:
        each = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        return cls(fmean(each), stdev(each) / math.sqrt(len(each)) if len(each) > 1 else math.inf)

    @property
    def is_worse(self) -> bool:
        return self.mean > 2 * self.error

    @property
    def is_better(self) -> bool:
        return self.mean < -2 * self.error


def differences(runs: ByWorld, rival: str, budget: int) -> dict[str, Difference]:
    """Our mean regret less the rival's after so many launches, by world."""
    found = {}
    for name, searchers in runs.items():
        if searchers.get(OURS, {}).keys() & searchers.get(rival, {}).keys():
            ours, theirs = ({seed: run.after(budget) for seed, run in searchers[one].items()} for one in (OURS, rival))
            found[name] = Difference.of(ours, theirs)
    return found


def answer(runs: ByWorld) -> str:
    """What the race says, in a few sentences, from the runs alone."""
    seeds = min(len(searchers.get(OURS, {})) for searchers in runs.values())
    lines = [f"**In {len(runs)} made worlds (SIMULATED, seeds: {seeds} or more)**, after 6, 12 and 30 launches:", ""]
    if seeds < ENOUGH_SEEDS:
        lines = [
            f"These are {seeds} seeds, fewer than the {ENOUGH_SEEDS} of a whole race: little is sure yet.",
            "",
            *lines,
        ]
    for rival in RIVALS:
        found = [(name, n, one) for n in BUDGETS for name, one in differences(runs, rival, n).items()]
        if not found:
            lines.append(f"- {LABELS[rival]} was not raced.")
            continue
        worse = [f"{name} at {n} ({_points(one.mean)})" for name, n, one in found if one.is_worse]
        better = sum(one.is_better for *_, one in found)
        words = f"worse in {len(worse)}: {', '.join(worse)}" if worse else "worse in none"
        lines.append(
            f"- against {LABELS[rival]} the mean regret of `planner` is lower by more than two standard errors in "
            f"{better} of {len(found)} comparisons, {words}."
        )
    lines += ["", _right_words(runs), "", _stopping_words(runs)]
    return "\n".join(lines)


def _right_words(runs: ByWorld) -> str:
    """How soon each is within CLOSE of the best where the model is right."""
    within = {
        LABELS[searcher]: percentiles([run.first_within(CLOSE) for run in several.values()], 50)[0]
        for searcher, several in runs.get(RIGHT, {}).items()
    }
    each = ", ".join(f"{label} {_count(count)}" for label, count in within.items())
    return f"Launches to within 2 % of the best where the model is right but for 5 %, median: {each}."


def _stopping_words(runs: ByWorld) -> str:
    """What the rule saves and loses, beside the world that no rule can find and then in that world."""
    found = {name: list(each.get(OURS, {}).values()) for name, each in runs.items()}
    usual = {name: ones for name, ones in found.items() if name != NEEDLE}
    words = f"With the rule that stops (`--until 0.5%`) {_saved_and_lost(usual)}" if any(usual.values()) else ""
    if found.get(NEEDLE):
        words += f"{' ' if words else ''}In `{NEEDLE}`, told apart: {_saved_and_lost({NEEDLE: found[NEEDLE]})}"
    return words


def _saved_and_lost(found: Mapping[str, Sequence[Run]]) -> str:
    ours = [run for ones in found.values() for run in ones]
    saved = fmean(1 - _stop(run) / len(run.regret) for run in ours)
    return (
        f"{_percent(saved)} of the launches are saved at {_points(fmean(map(_lost, ours)))} of mean regret; stops that "
        f"lost more than {FALSE_STOP * 100:g} points: {_false_words(found, _lost)}; of what the finals deploy "
        f"{_points(fmean(map(_lost_deployed, ours)))} and {_false_words(found, _lost_deployed)}."
    )


def _false_words(found: Mapping[str, Sequence[Run]], lost: Callable[[Run], float]) -> str:
    false = Counter({name: sum(lost(run) > FALSE_STOP for run in ones) for name, ones in found.items()})
    named = ", ".join(f"{name} {count}" for name, count in false.most_common() if count)
    every = sum(map(len, found.values()))
    return f"{false.total()} of {every} ({named})" if named else f"none of {every}"


def _stop(run: Run) -> int:
    return len(run.regret) if run.stopped is None else run.stopped


def _lost(run: Run) -> float:
    """Regret of the search's own choice at the stop less that of the full run."""
    return run.after(_stop(run)) - run.regret[-1]


def _lost_deployed(run: Run) -> float:
    """Regret of what the finals deploy after the stop, less that after the full run; the search's own without them."""
    return _lost(run) if run.deployed is None else run.deployed[0] - run.deployed[1]


def section(runs: ByWorld) -> str:
    """The tables: regret, launches and failures; paired differences; the rule that stops."""
    kinds = _rows([["world", "what it is"], ["---", "---"], *([name, KINDS[name]] for name in runs)])
    return "\n\n".join(
        [
            "## Made worlds, SIMULATED", WORDS, kinds,
            "### Regret", _REGRET_WORDS, _regrets(runs),
            "### Paired differences", _PAIRED_WORDS, _paired(runs),
            "### The rule that stops", _STOP_WORDS, _stops(runs),
            _LATER_WORDS, _later(runs),
        ]
    )  # fmt: skip


_REGRET_WORDS = """Mean, then median / 90th percentile. Launches to 2 % are median / 90th percentile. Failed is the
mean number of the launches that failed."""
_PAIRED_WORDS = """The mean regret of `planner` less the other's, in points, run by run, with two standard errors.
Below zero `planner` is better; **bold** where it is worse by more than two standard errors."""
_STOP_WORDS = """The same runs of `planner`: where `--until 0.5%`, the default, would have ended them. Lost is the
regret of the search's choice at that launch less that of the full run, in points; below zero the stop chose better.
False are stops that lost more than 3 points. The last columns are the same of what is deployed when the finals follow,
as in a study and with new noise, after the stop and after the full run: they launch the best again, and keep the
default where launches differ too much to be sure of more. `needle` is told apart: nothing that was launched says
anything of a candidate far better than all that is like it, so no rule finds it, short of launching everything."""
_LATER_WORDS = """What more certainty costs: the same runs, ended so many launches after the rule's own end, without
`needle`. Each launch that the rule waits finds some of what the false stops missed, and is spent in all other searches
too."""


def _regrets(runs: ByWorld) -> str:
    head = ["world", "searcher", "seeds", *(f"regret at {n}" for n in BUDGETS), "launches to 2 %", "failed"]
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for name, searchers in runs.items():
        for searcher, several in searchers.items():
            ones = list(several.values())
            cells = [_spread([run.after(n) for run in ones]) for n in BUDGETS]
            within = percentiles([run.first_within(CLOSE) for run in ones], 50, 90)
            cells.append(" / ".join(map(_count, within)))
            failed = fmean(sum(run.failed) for run in ones)
            lines.append([name, LABELS[searcher], str(len(ones)), *cells, f"{failed:.1f}"])
    return _rows(lines)


def _spread(values: Sequence[float]) -> str:
    middle, high = percentiles(values, 50, 90)
    return f"{100 * fmean(values):.1f} %, {100 * middle:.1f} / {100 * high:.1f} %"


def _paired(runs: ByWorld) -> str:
    rivals = [rival for rival in RIVALS if any(rival in searchers for searchers in runs.values())]
    head = ["world", *(f"{LABELS[rival]}, at {n}" for rival in rivals for n in BUDGETS)]
    found = [differences(runs, rival, n) for rival in rivals for n in BUDGETS]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [[name, *(_cell(one[name]) if name in one else "" for one in found)] for name in runs]
    return _rows(lines)


def _cell(one: Difference) -> str:
    shown = f"{100 * one.mean:+.1f} ± {200 * one.error:.1f}" if math.isfinite(one.error) else f"{100 * one.mean:+.1f}"
    return f"**{shown}**" if one.is_worse else shown


def _stops(runs: ByWorld) -> str:
    head = ["world", "stopped", "launches, median / 90th percentile", "saved", "lost, mean", "lost, most", "false"]
    head += ["deployed: lost, mean", "false"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    found = [(name, list(each.get(OURS, {}).values())) for name, each in runs.items()]
    usual, every = ([run for name, ones in found if name not in left for run in ones] for left in ((NEEDLE,), ()))
    for name, ones in [*found, (f"all but {NEEDLE}", usual), ("all", every)]:
        if not ones:
            continue
        lost, after = ([of(run) for run in ones] for of in (_lost, _lost_deployed))
        counts = " / ".join(f"{one:.0f}" for one in percentiles([_stop(run) for run in ones], 50, 90))
        stopped = f"{sum(run.stopped is not None for run in ones)} of {len(ones)}"
        saved = _percent(fmean(1 - _stop(run) / len(run.regret) for run in ones))
        false, late = (f"{sum(one > FALSE_STOP for one in each)} of {len(ones)}" for each in (lost, after))
        figures = [f"{100 * fmean(lost):+.1f}", f"{100 * max(lost):+.1f}", false, f"{100 * fmean(after):+.1f}", late]
        lines.append([name, stopped, counts, saved, *figures])
    return _rows(lines)


def _later(runs: ByWorld) -> str:
    """What is saved and lost if a search goes on for some launches where the rule would end it."""
    ours = [run for name, each in runs.items() if name != NEEDLE for run in each.get(OURS, {}).values()]
    lines = [["launches later", "saved", "lost, mean", "false"], ["---:"] * 4]
    for wait in WAITS if ours else ():
        ends = [min(_stop(run) + wait, len(run.regret)) for run in ours]
        lost = [run.after(end) - run.regret[-1] for run, end in zip(ours, ends, strict=True)]
        saved = fmean(1 - end / len(run.regret) for run, end in zip(ours, ends, strict=True))
        false = f"{sum(one > FALSE_STOP for one in lost)} of {len(ours)}"
        lines.append([str(wait), _percent(saved), f"{100 * fmean(lost):+.1f}", false])
    return _rows(lines)


def _count(launches: float) -> str:
    return f"{launches:.0f}" if math.isfinite(launches) else "never"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"


def _rows(lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
