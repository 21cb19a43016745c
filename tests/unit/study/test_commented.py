"""The study that `planner init` writes: every key explained, valid at once, valid with every line put on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner.files import decode
from planner.study.commented import WORDS, commented
from planner.study.loading import load_study
from planner.study.spec import ModelVariant, StudySpec
from tests.places import ROOT

Run = Callable[[str], tuple[int, str, str]]
LINE = "init mine --model Qwen/Qwen3-8B --gpu 'RTX 3090' --num-gpus 2"


def keys(kind: Any, path: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        place = f"{path}.{field.encode_name}" if path else field.encode_name
        yield place
        inner = ModelVariant if place == "models" else _struct(field.type)
        if inner is not None:
            yield from keys(inner, "models.*" if place == "models" else place)


def _struct(kind: Any) -> Any:
    for one in (kind, *getattr(kind, "__args__", ())):
        is_part = isinstance(one, type) and issubclass(one, msgspec.Struct)
        if is_part and one.__name__ not in {"EngineConfig", "SearchSpace", "Workload"}:
            return one
    return None


def test_every_key_of_a_study_is_explained() -> None:
    assert set(WORDS) == set(keys(StudySpec))
    assert all(re.fullmatch(r".+\.", words) for words in WORDS.values())


def test_it_is_valid_at_once_and_every_key_has_a_comment(run: Run) -> None:
    assert run(f"{LINE} --slo ttft_p95=2s,tpot_p95=50ms") == (
        0, "wrote mine/study.yaml\nnext: planner tune mine --dry-run\n", "",
    )  # fmt: skip
    spec = load_study(Path("mine"))
    assert (spec.name, spec.hardware.num_gpus) == ("mine", 2)
    assert spec.objective.limits == {"ttft_p95": 2.0, "tpot_p95": 0.05}
    lines = Path("mine/study.yaml").read_text("utf-8").splitlines()
    for above, line in pairwise(lines):
        is_key = re.match(r" *#?[a-z_]+:", line) and line.strip() != "model:"
        assert not is_key or above.strip().startswith("# "), line
    code, out, err = run("tune mine --dry-run")
    assert (code, err) == (0, "")
    assert "first launch:" in out


def test_with_every_line_put_on_it_is_the_same_study(run: Run) -> None:
    assert run(LINE)[0] == 0
    text = Path("mine/study.yaml").read_text("utf-8")
    on = re.sub(r"^( *)#(?! )", r"\1", text, flags=re.MULTILINE)
    assert on.count("\n#") < text.count("\n#")
    assert decode(on, StudySpec, "on") == decode(text, StudySpec, "off")


@pytest.mark.parametrize(
    "folder", [path.parent for path in sorted((ROOT / "tests/golden").rglob("study.yaml"))][:6] or [ROOT / "studies"]
)
def test_any_study_can_be_written_this_way(folder: Path) -> None:
    spec = decode((folder / "study.yaml").read_text("utf-8"), StudySpec, "study")
    written = {} if isinstance(spec.search_space, str) else {"search_space": "vllm-v1"}
    again = decode(commented(spec, "x", written), StudySpec, "again")
    assert msgspec.structs.replace(again, search_space="") == msgspec.structs.replace(spec, search_space="")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (LINE, "mine/study.yaml: exists already, and is left as it is"),
        ("init", "init: name the model"),
        ("init other --model Qwen/Qwen3-8B --gpu nothing", "nothing"),
        ("init other --model Qwen/Qwen3-8B --gpu H200 --slo ttft=2s", "did you mean ttft_p95?"),
        ("init other --model Qwen/Qwen3-8B --gpu H200 --workload nothing", "nothing: no such file"),
        ("init file --model Qwen/Qwen3-8B --gpu H200", "file/study.yaml"),
    ],
)
def test_what_cannot_be_written_is_one_line(run: Run, line: str, words: str) -> None:
    assert run(LINE)[0] == 0
    before = Path("mine/study.yaml").read_bytes()
    Path("file").write_text("", "utf-8")
    code, out, err = run(line)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert Path("mine/study.yaml").read_bytes() == before
    assert not Path("other").exists()


def test_without_a_folder_it_goes_under_studies(run: Run) -> None:
    code, out, _ = run("init --model Qwen/Qwen3-8B --gpu 'RTX 3090'")
    assert code == 0
    assert Path(out.splitlines()[0].removeprefix("wrote ")).is_file()
    assert out.startswith("wrote studies/")


def test_a_load_of_ones_own_is_written_into_it(run: Run) -> None:
    Path("load.yaml").write_text("name: mine\nconcurrency: 3\nnum_requests: 9\nrequest_rate: 2\nramp: 0s\n", "utf-8")
    assert run(f"{LINE} --workload load.yaml")[0] == 0
    workload: Any = load_study(Path("mine")).workload
    assert (workload.concurrency, workload.num_requests, workload.request_rate) == (3, 9, 2.0)


def test_a_study_that_could_not_start_is_written_and_says_so(run: Run) -> None:
    code, out, err = run("init one --model Qwen/Qwen3-8B --gpu 'RTX 4090' --vllm-version 0.33.0")
    assert (code, err, out.count("\n")) == (0, "", 4)
    assert "\nno combination can start: " in out
    assert "\nwhat would start (settings stand under engine.settings): max_model_len 40960 -> " in out


def test_vllms_flags_stand_under_its_settings(run: Run) -> None:
    assert run(f"{LINE} --max-model-len 16k --kv-cache-dtype fp8 --reasoning-parser qwen3")[0] == 0
    engine = load_study(Path("mine")).engine
    assert (engine.settings.max_model_len, engine.settings.kv_cache_dtype) == (16_000, "fp8")
    assert engine.extra_args == ["--reasoning-parser", "qwen3"]


def test_a_pasted_line_gives_the_model_and_the_flags(run: Run) -> None:
    assert run("init mine --gpu H200 'vllm serve Qwen/Qwen3-8B --max-num-seqs 64 -tp 2'")[0] == 0
    spec = load_study(Path("mine"))
    assert (spec.models["model"].path, spec.engine.settings.max_num_seqs) == ("Qwen/Qwen3-8B", 64)
    assert spec.hardware.num_gpus == 2


def test_a_flag_that_vllm_does_not_know_is_refused(run: Run) -> None:
    code, out, err = run(f"{LINE} --max-model-length 16k")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--max-model-len" in err
    assert not Path("mine").exists()
