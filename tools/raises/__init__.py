"""The messages with which vLLM's own code raises, read from a source tree: `python -m tools.raises FOLDER`."""
