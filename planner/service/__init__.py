"""What follows a study: exported scripts, the ladder, the guard, the front door, and the check of a script's promise.

In: a trial, a ladder.yaml, a server. Out: text that runs it, and running helpers. Read `export/kinds.py` first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "export.kinds": ["parse_kind"],
        "export.docker_script": ["broken", "docker_command"],
        "export.write": ["export_trial", "exported_text", "start_command", "write_exports"],
        "guard.loop": ["Door", "run_guard"],
        "ladder": ["Ladder", "load_ladder"],
        "proxy.app": ["Proxy"],
        "proxy.server": ["proxy_in_thread", "serve_proxy"],
        "verify.against": ["Upgrade", "verify_against"],
        "verify.soak": ["Soak", "soak_script"],
        "verify.script": ["EXIT_DIFFERS", "Verification", "verify_script"],
    },
)
