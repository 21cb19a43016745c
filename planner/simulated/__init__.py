"""A simulated engine: vLLM's scheduler and memory rules in virtual time, at the pace of the speed model.

In: a deployment and a load. Out: request records and a start log; over HTTP: `planner simulate`.
It has no weights and answers with filler text; everything it shows says SIMULATED. Read `scheduler.py` first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "load": ["simulate_load"],
        "scheduler": ["SimulatedEngine"],
        "serve": ["ServeAsk", "serve_simulated"],
        "start": ["SEEDS_PER_TRIAL", "start_engine", "start_live", "start_seconds"],
    },
)
