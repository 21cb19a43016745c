"""A development tool: what vLLM's own engine says of config.json files, kept as golden files. Read `ask.py` first."""
