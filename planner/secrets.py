"""Which names hold secrets. Their values are never written: not into a study, its storage, or what is exported.

In: names of environment variables and flags. Out: whether they are secret, or a ValueError that says what to write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SECRET = re.compile(r"(^|_)(TOKEN|API_KEY|ACCESS_KEY(_ID)?|SECRET|PASSWORD|PASSWD|CREDENTIALS)$", re.IGNORECASE)
SECRET_FLAGS = {"--api-key": "VLLM_API_KEY", "--hf-token": "HF_TOKEN"}
"""Flags of `vllm serve` whose value is a secret, and the variable that says the same."""


def is_secret(variable: str) -> bool:
    """Whether an environment variable of this name holds a secret: HF_TOKEN, VLLM_API_KEY, AWS_SECRET_ACCESS_KEY."""
    return _SECRET.search(variable) is not None


def refuse_secrets(variables: Iterable[str], args: Iterable[str]) -> None:
    """Raises ValueError where one of these would have its value written in a file."""
    for name in variables:
        if is_secret(name):
            raise ValueError(f"env.{name}: a secret's value is not written; name it in pass_env instead: [{name}]")
    for flag in (word.partition("=")[0] for word in args):
        variable = SECRET_FLAGS.get(flag.replace("_", "-"))
        if variable is not None:
            raise ValueError(f"extra_args: {flag}: a secret's value is not written; name it in pass_env: [{variable}]")
