"""What an engine inherits: what it reads, and no secret of the planner, however it is named."""

from __future__ import annotations

import pytest

from planner.launch.environment import given, inherited

NEEDED = {
    "PATH": "/usr/bin", "HOME": "/root", "LANG": "C", "LD_LIBRARY_PATH": "/usr/local/cuda/lib64", "PYTHONPATH":
    "/app", "CUDA_VISIBLE_DEVICES": "0,1", "NCCL_P2P_DISABLE": "1", "VLLM_USE_V1": "0", "HF_HOME": "/models",
    "OMP_NUM_THREADS": "8", "HTTPS_PROXY": "http://proxy:3128", "no_proxy": "localhost",
    "TORCHINDUCTOR_CACHE_DIR": "/var/t",
}  # fmt: skip
KEPT_BACK = {
    "PLANNER_STORAGE": "postgresql+psycopg://u:canary@h/d", "PLANNER_WEBHOOK": "https://hook/canary",
    "PGPASSWORD": "canary", "GITHUB_PAT": "canary", "DATABASE_URL": "mysql://u:canary@h/d", "HTTP_PROXY":
    "http://u:canary@proxy:1", "MY_CANARY": "canary", "HF_TOKEN": "canary", "VLLM_API_KEY": "canary",
    "AWS_SECRET_ACCESS_KEY": "canary", "SSH_AUTH_SOCK": "/canary",
}  # fmt: skip


def test_an_engine_gets_what_it_reads_and_nothing_else() -> None:
    assert inherited({**NEEDED, **KEPT_BACK}) == NEEDED


@pytest.mark.parametrize("name", sorted(KEPT_BACK))
def test_whatever_a_study_names_is_passed(name: str) -> None:
    everything = {**NEEDED, **KEPT_BACK}
    assert given([name, "NOT_SET"], everything) == {**NEEDED, name: KEPT_BACK[name]}
