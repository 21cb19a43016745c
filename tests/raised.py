"""What the reader of logs makes of every exception that vLLM's own code raises: `classified() -> Counter per part`."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from collections.abc import Mapping

import msgspec

from planner.engine.log.report import read_log
from planner.engine.log.verdict import UNKNOWN
from tests.places import GOLDEN

RELEASE = "0.33.0"
PATH = GOLDEN / "logs" / f"raised-{RELEASE}.jsonl.gz"
_WHERE = "(EngineCore pid=77) ERROR 11-20 10:00:30 [core.py:842]"


def log_of(file: str, function: str, name: str, message: str) -> str:
    """The log of a start that this exception ended."""
    return (
        f"(APIServer pid=1) INFO 11-20 10:00:00 [utils.py:299] vLLM server version {RELEASE}, serving model x\n"
        f"{_WHERE} Traceback (most recent call last):\n"
        f'{_WHERE}   File "/usr/local/lib/python3.12/dist-packages/vllm/{file}", line 7, in {function}\n'
        f"{_WHERE}     raise {name}(\n"
        f"{_WHERE}           ^^^^^^\n"
        f"{_WHERE} {name}: {message}\n"
    )


def classified() -> Mapping[str, Counter[str]]:
    """Number of exceptions by cause, for each part of vLLM in the golden file."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for line in gzip.decompress(PATH.read_bytes()).splitlines():
        part, *exception = msgspec.json.decode(line, type=tuple[str, str, str, str, str])
        failure = read_log(log_of(*exception), exit_code=1).failure
        found[part][UNKNOWN if failure is None else failure.cause.name] += 1
    return found
