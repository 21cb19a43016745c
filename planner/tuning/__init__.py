"""The loop: ask the search, launch, measure, tell; then the finals.

In: a `Problem`, a backend, a storage. Out: stored trials. It prints nothing.
Read `loop.py` first, then `evaluation.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "budget": ["Budget", "budget_of"],
        "expectations": ["expected_most", "expected_of_limits"],
        "journal": ["FINISHED", "INTERRUPTED", "SessionRecord", "read_session"],
        "loop": ["Observer"],
        "measure": ["Measurement", "STARTING", "measure_server"],
        "plan": ["Hosts", "Plan", "choose_backend", "make_plan", "plan_replay", "with_live"],
        "replay": ["BACKEND"],
        "search.claims": ["shown"],
        "search.earlier": ["taught_by"],
        "search.stored": ["stored_trials"],
        "search.watched": ["Left", "UnderWay", "WatchedStudy"],
        "search.stopping": ["until_of"],
        "search.surrogate": ["Surrogate"],
        "session": ["NobodyWatches", "Outcome", "SessionObserver", "replay_study", "tune_study", "write_study"],
    },
)
