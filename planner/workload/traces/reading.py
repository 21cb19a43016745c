"""`read_traffic(path)`: a file of recorded traffic, whichever format it has; it is recognised by its content.

In: a path, or text. Out: `Traffic`. Raises InputError with file and line, what is wrong and what is allowed.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from planner.errors import InputError
from planner.files import PROMPTS_BYTES, read_text
from planner.workload.recorded import GivenPrompt, Traffic
from planner.workload.traces.blocks import MOONCAKE, QWEN, read_mooncake, read_qwen
from planner.workload.traces.lines import Entry
from planner.workload.traces.tables import AZURE, BURSTGPT, read_azure, read_burstgpt
from planner.workload.traces.texts import OPENAI, OWN, SHAREGPT, read_openai, read_own, read_sharegpt

MOST_ENTRIES = 1_000_000
"""Most requests read of one file; a run sends no more."""


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """A format, recognised by the keys of the first entry: all of `needs`, or any of `any_of`."""

    name: str
    read: Callable[[Sequence[Entry]], list[GivenPrompt | None]]
    allowed: str
    needs: frozenset[str] = frozenset()
    any_of: frozenset[str] = frozenset()
    is_csv: bool = False

    def fits(self, keys: Iterable[str], is_csv: bool) -> bool:
        found = set(keys)
        return is_csv == self.is_csv and self.needs <= found and (not self.any_of or bool(self.any_of & found))


FORMATS = (
    TraceFormat("Azure LLM inference trace", read_azure, AZURE,
                needs=frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}), is_csv=True),
    TraceFormat("BurstGPT", read_burstgpt, BURSTGPT,
                needs=frozenset({"Timestamp", "Request tokens", "Response tokens"}), is_csv=True),
    TraceFormat("Qwen trace", read_qwen, QWEN, needs=frozenset({"input_length", "output_length", "chat_id"})),
    TraceFormat("Mooncake", read_mooncake, MOONCAKE, any_of=frozenset({"input_length", "output_length", "hash_ids"})),
    TraceFormat("ShareGPT", read_sharegpt, SHAREGPT, needs=frozenset({"conversations"})),
    TraceFormat("OpenAI", read_openai, OPENAI,
                any_of=frozenset({"messages", "body", "custom_id", "usage", "response", "request"})),
    TraceFormat("prompts and lengths", read_own, OWN,
                any_of=frozenset({"prompt", "input_tokens", "input_len", "arrival_s", "output_tokens", "max_tokens"})),
)  # fmt: skip
"""Every format, in the order in which they are tried. vLLM's custom JSONL is among `prompts and lengths`."""


def read_traffic(path: Path) -> Traffic:
    """Raises InputError."""
    return parse_traffic(read_text(path, PROMPTS_BYTES), str(path))


def read_again(path: str) -> tuple[GivenPrompt, ...]:
    """The requests of a file that is read once, unless it has changed since. Raises InputError."""
    try:
        state = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return _kept(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2)
def _kept(path: str, changed_ns: int, size: int) -> tuple[GivenPrompt, ...]:  # noqa: ARG001
    return read_traffic(Path(path)).requests


def parse_traffic(text: str, where: str) -> Traffic:
    """The requests of a file's text; `where` names it in errors. Raises InputError."""
    text = text.removeprefix("\ufeff")
    is_csv = not text.lstrip().startswith(("{", "["))
    rest = _rows(text, where) if is_csv else _objects(text, where)
    entries = list(islice(rest, MOST_ENTRIES))
    if not entries:
        raise InputError(f"{where}: has no requests; allowed: {_allowed()}")
    first = entries[0]
    one = next((one for one in FORMATS if one.fits(first.values, is_csv)), None)
    if one is None:
        keys = ", ".join(sorted(map(str, first.values)))[:200]
        raise first.wrong(f"is no request of a known format: it has {keys or 'no keys'}", _allowed())
    found = one.read(entries)
    requests = [given for given in found if given is not None]
    if not requests:
        raise InputError(f"{where}: has no requests: each of the {len(found)} entries failed or has no answer")
    if all(given.arrival_s is not None for given in requests):
        requests.sort(key=lambda given: given.arrival_s or 0.0)
    return Traffic(one.name, tuple(requests), len(found) - len(requests), next(rest, None) is not None)


def _allowed() -> str:
    return "; ".join(f"{one.name}: {one.allowed}" for one in FORMATS)


def _objects(text: str, where: str) -> Iterator[Entry]:
    """Entries of JSON Lines, or of one JSON list."""
    if text.lstrip().startswith("["):
        for number, value in enumerate(_decoded(text, where, list[Any]), 1):
            if not isinstance(value, dict):
                raise InputError(f"{where}: entry {number}: is no object; allowed: {{...}}")
            yield Entry(f"{where}: entry {number}", value)
        return
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        if line.strip():
            yield Entry(f"{where}:{number}", _decoded(line, f"{where}:{number}", dict[str, Any]))


def _decoded(text: str, where: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError:
        raise InputError(f"{where}: is not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where}: is not JSON: {error}; allowed: one object a line, or one list of them") from None


def _rows(text: str, where: str) -> Iterator[Entry]:
    """Entries of CSV below its header."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        for row in reader:
            if not row:
                continue
            place = f"{where}:{reader.line_num}"
            if len(row) != len(header):
                raise InputError(f"{place}: has {len(row)} values; allowed: {len(header)}, as the header has")
            yield Entry(place, dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise InputError(f"{where}:{reader.line_num}: is not CSV: {error}") from None
