"""The loop: ask the search, launch, measure, tell; then the finals.

In: a `Problem`, a backend, a storage. Out: stored trials. It prints nothing.
Read `loop.py` first, then `evaluation.py`."""
