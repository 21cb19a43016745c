"""Trials in words, tables, JSON and pages; a log in words. It reads trials and launches nothing.

In: a `Problem` and its trials, or a log. Out: what Rich prints, documents, a page. Read `verdict.py` first."""
