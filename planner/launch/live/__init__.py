"""Several scheduler settings in one launch: `knobs.py` turns them from here, `planner_live.py` inside the engine."""
