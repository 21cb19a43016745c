"""Duration of one engine step, and every metric of a workload that follows from it."""
