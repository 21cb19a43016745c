"""The quality gate on the real vLLM in containers: a fast variant that answers otherwise, and one that hardly does."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.files import load_study
from planner.problem import Problem
from planner.search import Search
from studies import tune, write_cpu_study

pytestmark = [pytest.mark.container, pytest.mark.vllm, pytest.mark.usefixtures("docker_client")]


def _write_study(folder: Path, image: str, model: Path) -> Path:
    """The more requests a variant runs at once, the faster it is: fp8, then float, then the default."""
    path = write_cpu_study(folder, image, model, requests=32)
    data: dict[str, Any] = yaml.safe_load(path.read_text())
    data["models"] = {
        "plain": {"path": str(model), "settings": {"max_num_seqs": 1}},
        "float": {"path": str(model), "settings": {"max_num_seqs": 6, "dtype": "float32"}},
        "fp8": {"path": str(model), "settings": {"max_num_seqs": 16, "kv_cache_dtype": "fp8"}},
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


def test_the_fastest_is_refused_for_its_answers_and_the_next_one_passes(
    vllm_image: str, tiny_model: Path, tmp_path: Path
) -> None:
    study = _write_study(tmp_path, vllm_image, tiny_model)
    prompts = _write_prompts(tmp_path / "words.jsonl")
    done = tune(study, 3, "docker", 900, ("--no-finals", "--quality-prompts", str(prompts)))
    assert done.returncode == 0, done.stdout + done.stderr
    print(*(line for line in done.stdout.splitlines() if "answers" in line), sep="\n")
    assert "the default, asked twice: 16 of 16 answers the same, 100% of the tokens" in done.stdout

    search = Search(Problem(load_study(study)), f"sqlite:///{study.parent / 'study.db'}")
    fp8, floats = search.verdicts()
    assert (dict(fp8.numerics)["kv_cache_dtype"], fp8.outcome) == ("fp8", "failed")
    assert (dict(floats.numerics)["dtype"], floats.outcome) == ("float32", "passed")
    for verdict in (fp8, floats):
        assert verdict.agreement is not None
        assert verdict.agreement.num_prompts == 16
        assert verdict.agreement.drift is not None
        assert verdict.agreement.num_same < 16, "both truly answer otherwise"
    trials = {trial.candidate.model: trial for trial in search.trials()}
    assert trials["fp8"].value is not None
    assert trials["float"].value is not None
    assert trials["fp8"].value > trials["float"].value, "it was refused for its answers, not for its speed"

    script = (study.parent / "run.sh").read_text()
    assert "--dtype float32" in script
    assert "# answers passed:" in script
    assert "fp8" not in script
