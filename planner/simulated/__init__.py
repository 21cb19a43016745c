"""A simulated engine: vLLM's scheduler and memory rules in virtual time, at the roofline's pace.

Two faces on one model: `run.simulate_load` inside this process, and `python -m planner.simulated serve` over HTTP.
It has no weights and answers with filler text; everything it shows says SIMULATED.
"""
