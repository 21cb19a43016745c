"""Duration of the steps of one running engine, in plain numbers: `StepTimer`.

In: the terms of a `StepModel`, found once. Out: seconds of one step, or what a run of decode steps costs. A simulated
engine asks a hundred thousand times a second: no arrays, no version comparisons, no dataclass for each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class DecodeCost(NamedTuple):
    """Seconds of a step that only decodes, as a function of the tokens in the KV cache of all its sequences.

    max(fixed_s + context_tokens * context_token_s + reduces_s, floor_s) + after_s
    """

    fixed_s: float
    context_token_s: float
    reduces_s: float
    floor_s: float
    after_s: float
    most_tokens: float
    """Length of the longest sequence, in tokens, up to which this holds: beyond it no CUDA graph serves the step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimer:
    """Every field is a plain number of one engine; names as in `StepModel`, which makes it."""

    matrices_s: Callable[[int, int], float]
    """Seconds of linear layers, head and sampler by tokens and rows."""
    padded_tokens: Callable[[int], int]
    """The captured size that serves so many tokens."""
    most_graph_tokens: float
    """Most tokens of a step that a graph serves; below 0 if none is captured."""
    most_graph_length: float
    """Length of the longest sequence, in tokens, up to which a graph serves a step."""
    graphs_prefills: bool
    """Whether a graph may serve a step with prompts."""
    always_continues: bool
    """Whether every prompt runs the kernel that continues a prefix."""
    fresh_pair_s: float
    continued_pair_s: float
    context_token_s: float
    num_reduces: float
    reduce_latency_s: float
    reduce_s_per_token: float
    launch_s: float
    graph_launch_s: float
    host_s: float
    host_s_per_seq: float
    is_async: bool

    def seconds(
        self,
        prefill_tokens: int,
        prefill_pairs: float,
        continues_prefix: bool,
        sampled_prefills: int,
        decode_seqs: int,
        context_tokens: int,
        longest_tokens: int,
    ) -> float:
        """Duration of a step as `StepModel.seconds` finds it by the data sheet, to the last bit; arguments: `Step`."""
        tokens, rows = prefill_tokens + decode_seqs, sampled_prefills + decode_seqs
        graphed = (
            tokens <= self.most_graph_tokens
            and longest_tokens <= self.most_graph_length
            and (self.graphs_prefills or not prefill_tokens)
        )
        padded = self.padded_tokens(tokens) if graphed else tokens
        pair_s = self.continued_pair_s if self.always_continues or continues_prefix else self.fresh_pair_s
        device_s = self.matrices_s(padded, rows) + (prefill_pairs * pair_s + context_tokens * self.context_token_s)
        device_s += self.num_reduces * (self.reduce_latency_s + padded * self.reduce_s_per_token)
        step_s = max(device_s, self.graph_launch_s if graphed else self.launch_s)
        host_s = self.host_s + self.host_s_per_seq * rows
        return max(step_s, host_s) if self.is_async else step_s + host_s

    def decodes(self, seqs: int, longest_tokens: int) -> DecodeCost:
        """Cost of steps in which `seqs` sequences decode, the longest of them with `longest_tokens` in the KV cache."""
        graphed = seqs <= self.most_graph_tokens and longest_tokens <= self.most_graph_length
        padded = self.padded_tokens(seqs) if graphed else seqs
        launch_s = self.graph_launch_s if graphed else self.launch_s
        host_s = self.host_s + self.host_s_per_seq * seqs
        return DecodeCost(
            fixed_s=self.matrices_s(padded, seqs),
            context_token_s=self.context_token_s,
            reduces_s=self.num_reduces * (self.reduce_latency_s + padded * self.reduce_s_per_token),
            floor_s=max(launch_s, host_s) if self.is_async else launch_s,
            after_s=0.0 if self.is_async else host_s,
            most_tokens=self.most_graph_length if graphed else math.inf,
        )
