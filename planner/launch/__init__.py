"""Where engines run: `docker` (default) and `process`. One protocol, in `backend.py`; nothing is left behind.

In: a problem and a candidate. Out: running servers with their logs. It does not know which candidate comes next.
Read `backend.py` first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "backend": ["Backend", "Ending", "EngineInstance", "Server", "serving"],
        "container": ["ContainerRun", "GUARD_LABEL", "LADDER_LABEL", "RIGHTS", "RUNG_LABEL", "without_variables"],
        "default_version": ["with_version_here"],
        "docker.door": ["EngineFacts", "engine_answers", "engine_facts", "image_facts", "run_to_end"],
        "docker.image": ["ImageFacts"],
        "docker.instance": ["container_log"],
        "docker.named": ["ContainerFacts", "NamedContainers", "OwnContainer"],
        "environment": ["given"],
        "interruption": ["sigterm_as_interrupt"],
        "live.knobs": ["LIVE", "NoKnobsError", "lowered", "refused_live"],
        "machine": ["cards_of", "image_here", "machine_of", "make_backend"],
        "model_files": ["warm_models"],
        "process": ["ProcessBackend", "ProcessInstance"],
        "runs": [
            "bare_runs",
            "cache_volume",
            "container_spec",
            "downloads_words",
            "engine_args",
            "engine_env",
            "gpu_ids",
            "service_runs",
            "trial_runs",
        ],
        "watchdog": ["no_engine_left"],
    },
)
