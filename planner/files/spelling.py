"""Suggestions for a misspelt word: `near_names("Qwen3-9B", known)`, `did_you_mean`."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


def near_names(word: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Up to `most` known words similar to this one, most similar first. Case and full-width letters are ignored."""
    spelled: dict[str, str] = {}
    for name in known:
        spelled.setdefault(name.lower(), name)
    return [spelled[near] for near in difflib.get_close_matches(half_width(word).lower(), spelled, most, cutoff)]


def half_width(word: str) -> str:
    """The word in plain letters: a Chinese keyboard may write RTX 4090 as `ＲＴＸ　４０９０`."""
    return unicodedata.normalize("NFKC", word)


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of an error message: `; did you mean max_num_seqs?`, or an empty string if no known word is similar."""
    near = near_names(word, known, cutoff=cutoff)
    return f"; did you mean {' or '.join(near)}?" if near else ""
