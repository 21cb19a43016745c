"""What a study asks: its spec, its space of candidates and its objective, all resolved in a `Problem`.

In: study.yaml or a model and a card. Out: `StudySpec`, `Candidate`, `Problem`. It launches and stores nothing.
Read `spec.py` first, then `problem.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "candidate": ["Candidate", "ENV_PREFIX", "LAYOUT", "MODEL", "Value"],
        "loading": ["load", "load_study", "spec_of", "with_flags", "with_levers", "with_prompts", "with_settings"],
        "objective": ["Objective", "judge"],
        "problem": ["CPU_KV_ENV", "Problem"],
        "setup": ["calibrated", "explore", "setup_of"],
        "space": ["SearchSpace"],
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
