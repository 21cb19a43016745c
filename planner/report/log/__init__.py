"""What `planner log` shows: where the log comes from, its words, its JSON."""
