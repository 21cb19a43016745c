"""A simulated engine: vLLM's scheduler and memory rules in virtual time, at the roofline's pace.

Two faces on one model: `run.simulate_load` inside this process, and `python -m planner.simulated serve` over HTTP.
It has no weights and answers with filler text; everything it shows says SIMULATED.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "load": ["simulate_load"],
        "start": ["start_engine", "start_seconds"],
    },
)
