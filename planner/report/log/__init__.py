"""`planner log`: where the log comes from, its words, its JSON."""
