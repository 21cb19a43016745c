"""What is asked: a study's spec, its space of candidates, its objective, and all of it resolved in a `Problem`.

In: study.yaml or a model and a card. Out: `StudySpec`, `Candidate`, `Problem`. It launches and stores nothing.
Read `spec.py` first, then `problem.py`."""
