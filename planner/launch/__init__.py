"""Where engines run: `docker` (default) and `process`. One protocol, in `base.py`."""
