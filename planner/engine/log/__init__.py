"""Read vLLM's log, 0.6.6 to 0.33, V0 and V1: `read_log(text) -> LogReport`, line by line in bounded memory.

`patterns.py` and `known_warnings.py` hold all patterns; the other modules fold lines into values.
"""
