"""What a study asks: its spec, its space of candidates and its objective, all resolved in a `Problem`.

In: study.yaml or a model and a card. Out: `StudySpec`, `Candidate`, `Problem`, and its `Forecast`. It launches and
stores nothing. Read `spec.py` first, then `problem.py` and `forecast.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "candidate": [
            "Candidate",
            "ENV_PREFIX",
            "LAYOUT",
            "Layout",
            "MODEL",
            "PARALLEL_SIZES",
            "Value",
            "parse_layout",
        ],
        "classes": ["Classes", "tied_at_top"],
        "commented": ["write_commented", "write_spec"],
        "described": ["cut_to_context", "IMAGES", "asked_version"],
        "forecast": ["Forecast"],
        "grid": ["Grid", "metrics_of"],
        "identity": ["OBJECTIVE", "asked_of", "changes_between", "in_one_line", "measured_of"],
        "learned": ["Learned"],
        "like": ["like_server", "refuse_earlier", "study_like", "with_traffic"],
        "loading": [
            "FoundStudy",
            "continued",
            "load",
            "load_study",
            "read_loaded",
            "read_study",
            "with_flags",
            "with_levers",
            "with_prompts",
            "with_sampler",
        ],
        "objective": ["COMPLETE", "Objective", "judge", "judge_limits"],
        "places": ["IN_FILE", "OPTIONS", "Places"],
        "problem": ["CPU_KV_ENV", "Problem"],
        "question": ["RECIPES", "Question", "with_question"],
        "setup": ["calibrated", "explore", "setup_of", "setup_of_default", "way_out"],
        "source": ["StudySource"],
        "possible": ["possible_values"],
        "space": ["SearchSpace", "layouts_left_out", "lever_of_key", "values_of"],
        "spec": [
            "ContainerSpec",
            "DOCKER_SHM_BYTES",
            "HardwareSpec",
            "ModelVariant",
            "Name",
            "Positive",
            "QualitySpec",
            "StudySpec",
        ],
        "workspace": [
            "LADDER_FILE",
            "STUDIES_FOLDER",
            "STUDY_FILE",
            "Workspace",
            "find_study",
            "is_study_near",
            "study_folders",
        ],
    },
)
