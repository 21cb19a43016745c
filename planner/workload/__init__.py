"""The load put on a server: lengths, arrivals and prompts, synthetic or recorded.

In: a workload's YAML or a recorded file. Out: `RequestPlan`s. It knows no server. Read `workload.py` first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "levels": ["LEVEL_S", "WAVES", "at_capacity_level", "first_wave", "most_load"],
        "loading": ["at_folder", "load_workload", "predictable", "window_note"],
        "prompts": ["prompt_token_ids", "prompt_words"],
        "recorded": ["GivenPrompt", "Traffic"],
        "shapes": [
            "ClosedLoop",
            "OpenLoop",
            "Replay",
            "Shape",
            "at_level",
            "due_times",
            "in_words",
            "limit_of",
            "shape_of",
            "sweep",
            "workload_at",
        ],
        "survey": [
            "Spread",
            "Survey",
            "block_hashes",
            "surveyed",
            "token_lengths",
            "window_of",
            "window_words",
            "windowed",
            "workload_keys",
        ],
        "traces.reading": ["parse_traffic", "read_again", "read_traffic"],
        "view": ["Found", "traffic_document", "traffic_table"],
        "windows": ["Window", "parse_window"],
        "workload": [
            "Lengths",
            "MOST_REQUESTS",
            "PromptBlocks",
            "Rate",
            "RequestPlan",
            "Workload",
            "conversations",
            "plan_given",
            "plan_requests",
            "plan_warmup",
        ],
    },
)
