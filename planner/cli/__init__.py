"""The command line, one file a command: parse the words, call the library, print. `main.py` holds them together."""
