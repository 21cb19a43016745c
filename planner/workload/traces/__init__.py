"""Readers of recorded traffic, one module a family of formats. `reading.py` recognises a file by its content."""
