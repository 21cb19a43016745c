"""The highest load inside limits: loads, the search for it, and stress beyond it."""
