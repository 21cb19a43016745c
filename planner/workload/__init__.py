"""What is asked of a server: lengths, arrivals, prompts, synthetic or recorded.

In: a workload's YAML or a recorded file. Out: `RequestPlan`s. It knows no server. Read `workload.py` first."""
