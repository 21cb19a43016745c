"""A trial as text that runs it; `kinds.py` lists the kinds."""
