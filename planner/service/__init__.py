"""Around a deployment that serves: is the machine ready, does the script keep its word, is it up, who answers?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "export.kinds": ["ExportKind", "parse_kind"],
        "export.write": ["write_export", "write_exports"],
        "guard.loop": ["Door", "run_guard"],
        "ladder": ["Ladder", "load_ladder"],
        "verify.script": ["EXIT_DIFFERS", "verify_script"],
    },
)
