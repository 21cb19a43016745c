"""Files that people and programs write: strict decoding, atomic writing, locks, redaction.

In: paths, text. Out: typed values, or one InputError that names file and key. It knows nothing of studies or engines.
Read `structured.py` first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "locks": ["held", "holder", "is_held"],
        "mistakes": ["explained", "matching"],
        "reading": ["LINE_BYTES", "PROMPTS_BYTES", "YAML_BYTES", "open_without_waiting", "read_bytes", "read_text"],
        "redaction": [
            "is_private",
            "private_log",
            "redact",
            "redact_log",
            "redactor",
            "refuse_secrets",
        ],
        "secret_words": ["carries_secret", "has_user_info", "is_secret"],
        "shipped": ["load_named", "shipped_files"],
        "spelling": ["did_you_mean", "half_width", "near_names"],
        "structured": ["convert", "decode", "decode_all", "encode", "parse_json", "pretty_json"],
        "writing": ["NO_ROOM", "try_writing", "write_whole"],
    },
)
