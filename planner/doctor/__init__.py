"""Is this machine ready? Each check says what it saw and what to do. In: a study. Out: `Check`s. It changes nothing.

Read `examination.py` first."""
