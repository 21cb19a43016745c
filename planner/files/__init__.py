"""Files that people and programs write: decoded strictly, written whole, locked, redacted.

In: paths, text. Out: typed values, or one InputError that names file and key. It knows nothing of studies or engines.
Read `structured.py` first."""
