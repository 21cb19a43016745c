"""What was seen, `Trial`, and what follows from it: which is best, what is measured again, which hosts differ.

In: measured results. Out: values and decisions. It launches and stores nothing. Read `trial.py` first."""
