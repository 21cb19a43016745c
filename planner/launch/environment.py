"""What of the planner's own environment an engine gets as a child process: a list of names, and nothing else.

In: the environment, the names of a study's `pass_env`. Out: variables. In containers an engine gets `pass_env` alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from planner.files import has_user_info, is_secret

NAMES = frozenset(
    (
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "LANG", "LANGUAGE", "TZ", "TERM", "COLUMNS",
        "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV", "CC", "CXX", "CUDACXX",
        "CPATH", "LIBRARY_PATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "CUDA_HOME", "CUDA_PATH",
        "MAX_JOBS", "MODELSCOPE_CACHE", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
        "all_proxy", "no_proxy",
    )
)  # fmt: skip
"""Variables of the system, the compilers and the network that an engine needs to find its files and its peers."""
PREFIXES = (
    "LC_", "XDG_", "PYTHON", "CONDA_", "CUDA_", "NVIDIA_", "NCCL_", "GLOO_", "UCX_", "FI_", "VLLM_", "HF_",
    "HUGGINGFACE_", "TRANSFORMERS_", "TOKENIZERS_", "TORCH", "PYTORCH_", "TRITON_", "FLASHINFER_", "DG_",
    "OMP_", "MKL_", "KMP_", "OPENBLAS_", "RAY_", "SLURM_", "ROCR_", "HIP_", "CUBLAS_", "CUDNN_", "SAFETENSORS_",
)  # fmt: skip
"""Beginnings of the variables that vLLM, its libraries and their launchers read."""


def inherited(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables an engine inherits: known to be read by it, not named like a secret, no URL with a user in it."""
    return {
        name: value
        for name, value in environment.items()
        if (name in NAMES or name.startswith(PREFIXES)) and not is_secret(name) and not has_user_info(value)
    }


def given(pass_env: Sequence[str], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What an engine inherits, and the variables that the study names under `pass_env`, where they are set."""
    return inherited(environment) | {name: environment[name] for name in pass_env if name in environment}
