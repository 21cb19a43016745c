"""Is this machine ready? Each check says what it saw and what to do. In: a study. Out: `Check`s. It changes nothing.

Read `examination.py` first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "before_launch": ["check_before_launch"],
        "examination": ["document", "examine", "exit_code", "parse_backend", "read_case"],
        "server.diagnosis": ["Diagnosis", "diagnose", "diagnosis_document"],
        "server.view": ["diagnosis_view"],
        "view": ["doctor_view"],
    },
)
