"""What `--speculative-config` asks for, in vLLM's words."""

from __future__ import annotations

import pytest

from planner.engine.speculation import Speculation, speculation_of
from planner.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ('{"method": "ngram", "num_speculative_tokens": 4}', Speculation("ngram", "none", None, 4)),
        ('{"model": "[ngram]", "num_speculative_tokens": 4}', Speculation("[ngram]", "none", None, 4)),
        ('{"method": "mtp", "num_speculative_tokens": 3}', Speculation("mtp", "mtp", None, 3)),
        ('{"method": "qwen3_next_mtp", "num_speculative_tokens": 2}', Speculation("qwen3_next_mtp", "mtp", None, 2)),
        ('{"method": "eagle3", "model": "x/y", "num_speculative_tokens": 3}', Speculation("eagle3", "eagle", "x/y", 3)),
        ('{"model": "z-lab/Qwen3-8B-DFlash-b16", "num_speculative_tokens": 15}',
         Speculation("dflash", "dflash", "z-lab/Qwen3-8B-DFlash-b16", 15)),
        ('{"method": "dflash", "model": "a/B-DFlash2", "num_speculative_tokens": 7}',
         Speculation("dflash", "dflash2", "a/B-DFlash2", 7)),
        ('{"model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 4}',
         Speculation("draft_model", "model", "Qwen/Qwen3-0.6B", 4)),
    ],
)  # fmt: skip
def test_methods_are_read_as_vllm_reads_them(text: str | None, expected: Speculation | None) -> None:
    assert speculation_of(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [("ngram", "is not a JSON object"), ("[1]", "is not a JSON object"),
     ('{"num_speculative_tokens": true}', "num_speculative_tokens: True is not from 0 to 4096"),
     ('{"model": {"a": 1}}', 'model: {"a":1} is not a text'),
     ('{"method": ["ngram"]}', 'method: ["ngram"] is not a text'),
     ('{"num_speculative_tokens": 99999}', "99999 is not from 0 to 4096")],
)  # fmt: skip
def test_nonsense_is_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match="speculative_config") as error:
        speculation_of(text)
    assert words in str(error.value)
