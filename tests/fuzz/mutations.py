"""Valid documents, spoilt: `spoilt(form, seeds)`, a hypothesis strategy of bytes.

YAML and JSON get another value, one less or one more at any path, JSON lines in any line; every form gets bytes cut
out, doubled or put in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import yaml
from hypothesis import strategies as st

from tests.fuzz.targets import Form

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    3,
    0.5,
    -0.5,
    2**31,
    2**53,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63),
    10**30,
    10**400,
    1e-320,
    1e308,
    -1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    "",
    " ",
    "0",
    "-1",
    "9" * 30,
    "9" * 5000,
    "1e400",
    "a" * 5000,
    "\0",
    "\x1b[31m",
    "é",
    "\u202e",
    "\u2028",
    "../../..",
    "~nobody/x",
    "/dev/zero",
    "a\0b",
    "x/" * 200,
    "1xtp1",
    "9" * 20 + "xtp1",
    "0.8.5",
    "0.24.0",
    "1." * 100 + "0",
    "64GiB",
    "5min",
    "null",
    "{",
    "--max-num-seqs",
    [],
    {},
    [[]],
    [None],
    [0, 0],
    ["a", "a"],
    [1, "a", None, 2.5],
    {"a": 1},
    {"": None},
    {"low": 1, "high": 2**62, "step": 1},
    {"low": 0, "high": 1e308, "step": 1e-308},
    {"low": 1, "high": 4},
)
NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    16,
    17,
    64,
    1000,
    4096,
    65535,
    65536,
    10**6,
    2**24,
    2**26,
    2**31 - 1,
    1e-6,
    0.01,
    0.5,
    1.0,
    1e6,
)
PIECES: tuple[bytes, ...] = (
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\x1b[31m",
    b"\t",
    b" ",
    b":",
    b",",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"'",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!python/object/apply:os.system ",
    b"!!int ",
    b"!!bool ",
    b"!!timestamp ",
    b"!!float ",
    b"!!binary ",
    b"!!set ",
    b"- ",
    b"? ",
    b"| ",
    b"# ",
    b"---\n",
    b"%YAML 9.9\n",
    b"1_000",
    b"0x" + b"f" * 40,
    b"1:1:1",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b".inf",
    b".nan",
    b"1e400",
    b"-0",
    b"9" * 40,
    b"9" * 5000,
    b"null",
    b"\\ud800",
    b"\\u0000",
    b"[" * 2000,
    b'{"a":' * 2000,
    b"- " * 2000,
    b"data: ",
    b"data:",
    b": ping",
    b"[DONE]",
    b"event: x\n",
)


@st.composite
def spoilt(draw: st.DrawFn, form: Form, seeds: Sequence[bytes]) -> bytes:
    seed = draw(st.sampled_from(seeds))
    if form == "bytes" or draw(st.integers(0, 3)) == 0:
        return draw(_bytes_of(seed))
    if form == "lines":
        return draw(_lines_of(seed))
    data = yaml.safe_load(seed) if form == "yaml" else json.loads(seed)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        data = draw(_changed(data))
    return _dumped(data, form)


def _dumped(data: Any, form: Form) -> bytes:
    if form == "yaml":
        return yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass")
    return json.dumps(data).encode()


@st.composite
def _changed(draw: st.DrawFn, data: Any) -> Any:
    """Another value at one path, or none, or one more beside it."""
    paths = list(_paths(data))
    path = draw(st.sampled_from(paths))
    if not path:
        return draw(st.sampled_from(VALUES))
    data = deepcopy(data)
    section = data
    for key in path[:-1]:
        section = section[key]
    kind = section[path[-1]]
    if isinstance(kind, int | float) and draw(st.booleans()):  # of the right type it gets further
        value = draw(st.sampled_from(NUMBERS) | st.integers(0, 2**34) | st.floats(0, 1e12))
    else:
        value = draw(st.sampled_from(VALUES) | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9))
    match draw(st.sampled_from(["replace", "replace", "delete", "insert", "copy"])):
        case "replace":
            section[path[-1]] = value
        case "delete":
            del section[path[-1]]
        case "insert" if isinstance(section, list):
            section.insert(path[-1], value)
        case "insert":
            section[draw(st.text(max_size=9) | st.just("a" * 5000))] = value
        case _:  # a value that is right elsewhere
            other = draw(st.sampled_from(paths))
            found = data
            for key in other:
                found = found[key]
            section[path[-1]] = deepcopy(found)
    return data


def _paths(data: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    if isinstance(data, dict):
        for key in data:
            yield from _paths(data[key], (*path, key))
    elif isinstance(data, list):
        for index in range(len(data)):
            yield from _paths(data[index], (*path, index))


@st.composite
def _lines_of(draw: st.DrawFn, seed: bytes) -> bytes:
    """Rows left out, doubled, moved or spoilt; of JSON lines a value in one."""
    rows = seed.split(b"\n")
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        if not rows:
            break
        at = draw(st.integers(0, len(rows) - 1))
        match draw(st.sampled_from(["drop", "double", "move", "spoil", "spoil", "spoil"])):
            case "drop":
                del rows[at]
            case "double":
                rows.insert(at, rows[at])
            case "move":
                rows.insert(draw(st.integers(0, len(rows) - 1)), rows.pop(at))
            case _ if rows[at].startswith(b"{"):
                try:
                    rows[at] = _dumped(draw(_changed(json.loads(rows[at]))), "json")
                except (ValueError, RecursionError):  # spoilt already, or a seed of very many brackets
                    rows[at] = draw(_bytes_of(rows[at]))
            case _:
                rows[at] = draw(_bytes_of(rows[at]))
    return b"\n".join(rows)


@st.composite
def _bytes_of(draw: st.DrawFn, seed: bytes) -> bytes:
    data = seed
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.sampled_from([0, 0, 1, 2, 8, 100, 10**6])))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=8) | st.just(data[start:stop] * 2))
        data = data[:start] + piece + data[stop:]
    return data
