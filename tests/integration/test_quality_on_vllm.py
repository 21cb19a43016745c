"""The quality gate on the real vLLM in containers: a fast variant that answers otherwise, and one that hardly does."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from planner.study.loading import load_study
from planner.study.problem import Problem
from planner.tuning.search.store import StudyStore
from tests.integration.studies import tune, write_cpu_study

pytestmark = [pytest.mark.container, pytest.mark.vllm, pytest.mark.usefixtures("docker_client")]


def _write_one_bit(model: Path, folder: Path) -> Path:
    """The model with each weight cut to its sign and the mean size of a weight: as fast, and it answers otherwise."""
    shutil.copytree(model, folder)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    weights = np.frombuffer(data, "<u2", offset=start)  # bfloat16: the upper half of a float32
    is_norm = weights == 0x3F80  # 1.0
    weights[:] = np.where(is_norm, weights, (weights & 0x8000) | 0x3C83)  # +-0.016
    path.write_bytes(data)
    return folder


def _write_study(folder: Path, image: str, model: Path) -> Path:
    """The more requests a variant runs at once, the faster it is: one-bit, then float, then the default."""
    path = write_cpu_study(folder, image, model, requests=32)
    one_bit = _write_one_bit(model, folder / "one bit")
    data: dict[str, Any] = yaml.safe_load(path.read_text())
    data["models"] = {
        "plain": {"path": str(model), "settings": {"max_num_seqs": 1}},
        "float": {"path": str(model), "settings": {"max_num_seqs": 4, "dtype": "float32"}},
        "one-bit": {"path": str(one_bit), "settings": {"max_num_seqs": 16, "dtype": "float32"}},
    }
    data["engine"]["env"]["TORCHDYNAMO_DISABLE"] = "1"  # log-probabilities would be compiled, without a compiler
    data["search_space"] = {"search": {}}
    data["workload"] |= {"concurrency": 16, "input_tokens": 16, "output_tokens": 32, "shared_prefix_tokens": 0}
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def _write_prompts(path: Path) -> Path:
    """Words that the tiny model's tokenizer knows."""
    rng = random.Random(0)
    prompts = [" ".join(f"w{rng.randint(6, 4095)}" for _ in range(rng.randint(8, 60))) for _ in range(16)]
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    return path


@pytest.mark.prove
def test_the_fastest_is_refused_for_its_answers_and_the_next_one_passes(
    vllm_image: str, tiny_model: Path, tmp_path: Path
) -> None:
    study = _write_study(tmp_path, vllm_image, tiny_model)
    prompts = _write_prompts(tmp_path / "words.jsonl")
    done = tune(study, 3, "docker", options=("--no-finals", "--quality-prompts", str(prompts)))
    assert done.returncode == 0, done.stdout + done.stderr
    print(*(line for line in done.stdout.splitlines() if "answers" in line), sep="\n")
    assert "the default, asked twice: 16 of 16 answers the same, 100% of the tokens" in done.stdout

    store = StudyStore(Problem.of(load_study(study)), f"sqlite:///{study.parent / 'study.db'}")
    one_bit, floats = store.verdicts()
    assert (dict(one_bit.numerics)["model"], one_bit.outcome) == ("one-bit", "failed")
    assert (dict(floats.numerics)["dtype"], floats.outcome) == ("float32", "passed")
    for verdict in (one_bit, floats):
        assert verdict.agreement is not None
        assert verdict.agreement.num_prompts == 16
        assert verdict.agreement.num_same < 16, "both truly answer otherwise"
    assert floats.agreement is not None
    assert floats.agreement.drift is not None
    trials = {trial.candidate.model: trial for trial in store.trials()}
    assert trials["one-bit"].value is not None
    assert trials["float"].value is not None
    assert trials["one-bit"].value > trials["float"].value, "it was refused for its answers, not for its speed"

    script = (study.parent / "run.sh").read_text()
    assert "--dtype float32" in script
    assert "# answers passed:" in script
    assert "one bit" not in script
