"""What a misspelt word may have meant: `near_names("Qwen3-9B", known)`, and what a refused YAML value may be."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


def near_names(word: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """The known words most like this one, the likest first; case and width do not matter."""
    spelled: dict[str, str] = {}
    for name in known:
        spelled.setdefault(name.lower(), name)
    return [spelled[near] for near in difflib.get_close_matches(half_width(word).lower(), spelled, most, cutoff)]


def half_width(word: str) -> str:
    """`ＲＴＸ　４０９０`, as a Chinese keyboard may write it, in plain letters."""
    return unicodedata.normalize("NFKC", word)


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`; did you mean max_num_seqs?`, or nothing where nothing is near."""
    near = near_names(word, known, cutoff=cutoff)
    return f"; did you mean {' or '.join(near)}?" if near else ""
