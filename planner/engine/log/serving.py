"""Summarise a serving engine's log lines: `RunReader` folds them into a `RunSummary`."""

from __future__ import annotations

from dataclasses import dataclass

from planner.engine.log.lines import LogLine
from planner.engine.log.patterns import ABORTED, ANSWERED, ENGINE, PREEMPTED, PREFIX_HITS, STATISTIC, STATISTICS


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Serving after one start. Rates and peaks are of single lines, which cover 5 s (V0) or 10 s (V1) of one engine."""

    lines: int
    """Number of lines of statistics; an idle engine logs one line and then none."""
    num_engines: int
    first: str
    """Time of the first line of statistics, in the log's form."""
    last: str
    """Time of the last line of statistics, in the log's form."""
    mean_prompt_tokens_per_s: float
    """Mean over the lines with work."""
    max_prompt_tokens_per_s: float
    mean_generation_tokens_per_s: float
    """Mean over the lines with work."""
    max_generation_tokens_per_s: float
    max_running: int
    max_waiting: int
    max_kv_usage: float | None
    """Largest used fraction of the KV cache, 0 to 1."""
    prefix_hit_rate: float | None
    """Last hit rate in the log, 0 to 1; that of the engine which logged it."""
    preemptions: int | None
    """Number of preemptions, at least; None if the log does not count them, as in V1."""
    aborted: int
    """Number of requests whose client disconnected."""
    answered: int
    """POST requests answered 2xx; also 0 if the access log is off."""
    refused: int
    """POST requests answered 4xx; also 0 if the access log is off."""
    failed: int
    """POST requests answered 5xx; also 0 if the access log is off."""


class RunReader:
    """Folds the lines of one start into a `RunSummary`."""

    def __init__(self) -> None:
        self._lines = self._busy = 0
        self._engines: set[str] = set()
        self._first = self._last = ""
        self._sums = {"prompt": 0.0, "generation": 0.0}
        self._peaks = dict.fromkeys(("prompt", "generation", "running", "waiting"), 0.0)
        self._kv_usage: float | None = None
        self._prefix_hits: float | None = None
        self._counted: int | None = None
        self._cumulative: int | None = None
        self._aborted = [0, 0]
        self._answers = {"2": 0, "4": 0, "5": 0}

    def feed(self, line: LogLine) -> bool:
        """Take a line in; returns whether it is a line of statistics."""
        text = line.text
        if STATISTICS in text:
            if not line.is_cut:
                self._take(line)
            return True
        if '"POST ' in text and (match := ANSWERED.search(text)):
            if match[1] in self._answers:
                self._answers[match[1]] += 1
        elif match := PREFIX_HITS.match(text):
            self._prefix_hits = round(float(match[1]) / 100, 6)
        elif "is preempted" in text and (match := PREEMPTED.search(text)):
            if not line.is_cut:
                self._cumulative = max(self._cumulative or 0, int(match[1]))
        else:
            for index, pattern in enumerate(ABORTED):
                if pattern.match(text):
                    self._aborted[index] += 1
        return False

    def _take(self, line: LogLine) -> None:
        read: dict[str, float] = {
            name: float(match[1]) for name, pattern in STATISTIC.items() if (match := pattern.search(line.text))
        }
        self._lines += 1
        self._first, self._last = self._first or line.when, line.when or self._last
        if (engine := ENGINE.match(line.text)) and len(self._engines) < 1000:
            self._engines.add(engine[1])
        for name in self._peaks:
            self._peaks[name] = max(self._peaks[name], read.get(name, 0.0))
        if read.get("prompt") or read.get("generation"):
            self._busy += 1
            for name in self._sums:
                self._sums[name] += read.get(name, 0.0)
        if "kv_usage" in read:
            self._kv_usage = max(self._kv_usage or 0.0, round(read["kv_usage"] / 100, 6))
        if "prefix_hits" in read:
            self._prefix_hits = round(read["prefix_hits"] / 100, 6)
        if "preemptions" in read:
            self._counted = (self._counted or 0) + int(read["preemptions"])

    def summary(self, is_v0: bool = False) -> RunSummary | None:
        """The summary; None without statistics and requests. V0 logs its first preemption, so no line means 0."""
        aborted, (answered, refused, failed) = max(self._aborted), self._answers.values()
        if not self._lines and not aborted and not any(self._answers.values()):
            return None
        busy = max(self._busy, 1)
        preemptions = self._counted if self._cumulative is None else self._cumulative
        if preemptions is None and is_v0:
            preemptions = 0
        return RunSummary(
            lines=self._lines,
            num_engines=max(len(self._engines), 1),
            first=self._first,
            last=self._last,
            mean_prompt_tokens_per_s=self._sums["prompt"] / busy,
            max_prompt_tokens_per_s=self._peaks["prompt"],
            mean_generation_tokens_per_s=self._sums["generation"] / busy,
            max_generation_tokens_per_s=self._peaks["generation"],
            max_running=int(self._peaks["running"]),
            max_waiting=int(self._peaks["waiting"]),
            max_kv_usage=self._kv_usage,
            prefix_hit_rate=self._prefix_hits,
            preemptions=preemptions,
            aborted=aborted,
            answered=answered,
            refused=refused,
            failed=failed,
        )
