"""Traces in CSV: Azure's LLM inference traces of 2023 and 2024, and BurstGPT's.

Sources: Azure/AzurePublicDataset (TIMESTAMP as a date, with a zone since 2024), HPMLL/BurstGPT (Timestamp in seconds;
a response of 0 tokens is a request that failed).
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.workload.recorded import GivenPrompt
from planner.workload.traces.lines import Entry, seconds_of

AZURE = "columns TIMESTAMP (a date as 2023-11-16 18:17:03.97), ContextTokens, GeneratedTokens"
BURSTGPT = "columns Timestamp (s), Model, Request tokens, Response tokens, Total tokens, Log Type"


def read_azure(entries: Sequence[Entry]) -> list[GivenPrompt | None]:
    found: list[GivenPrompt | None] = []
    for entry in entries:
        try:
            arrival_s = seconds_of(entry.values["TIMESTAMP"])
        except (ValueError, TypeError, OverflowError):
            raise entry.wrong(f"TIMESTAMP: {str(entry.values['TIMESTAMP'])[:40]!a} is no date", AZURE) from None
        given = entry.given(
            {"input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"}, AZURE, arrival_s=arrival_s
        )
        found.append(given)
    return found


def read_burstgpt(entries: Sequence[Entry]) -> list[GivenPrompt | None]:
    found: list[GivenPrompt | None] = []
    for entry in entries:
        is_failed = "0" in {entry.values[key].strip() for key in ("Request tokens", "Response tokens")}
        keys = {"arrival_s": "Timestamp", "input_tokens": "Request tokens", "output_tokens": "Response tokens"}
        found.append(None if is_failed else entry.given(keys, BURSTGPT))
    return found
