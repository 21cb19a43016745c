"""Cards and machines: `GpuSpec` by name, what the driver sees, which cards are held, how they are connected.

In: a name, or the driver. Out: `GpuSpec`, `Card`, `Placement`, `Machine`. It knows no model and no
engine. Read `gpus.py` first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "by_name": ["Amount", "GpuRequest", "card_of", "cards_of_memory", "find_gpu", "interconnect_of", "recognise"],
        "cards": ["CARDS_FREE_WITHIN_S", "Cards", "held_cards"],
        "cores": ["CORES_FREE_WITHIN_S", "POLL_S", "parse_cpuset", "take_cores"],
        "driver": ["Card", "GpuFacts", "detect_gpus", "read_gpus"],
        "gpus": ["GPUS", "GpuSpec", "Interconnect"],
        "machine": ["Machine", "UNKNOWN_MACHINE"],
        "placement": ["Placement"],
        "profile": [
            "PATH_STARTS",
            "CardProfile",
            "load_profile",
            "ProfilePart",
            "ProfileRow",
            "ProfileShape",
            "shipped_profiles",
        ],
        "readings": ["CardReading", "Readings", "read_cards"],
    },
)
