"""A study like a server: its settings are the baseline, and what it does not tell is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from planner.benchmark import Likeness
from planner.engine import EngineConfig, TypedWords, settings
from planner.errors import InputError
from planner.study.like import refuse_earlier, study_like, with_traffic
from planner.study.loading import FoundStudy
from planner.study.problem import Problem
from planner.study.question import Question
from planner.study.source import StudySource
from planner.workload import Lengths, Workload

CARD = StudySource(gpu="RTX 4090", num_gpus=2)
CACHE = {"cache_dtype": "fp8", "gpu_memory_utilization": "0.85", "enable_prefix_caching": "False"}
LOAD = Workload(
    concurrency=12, num_requests=64, request_rate=3.0, input_tokens=Lengths(200, 6000, 900), output_tokens=90
)


def told(model: str | None = "Qwen/Qwen3-8B", version: str | None = "0.32.0") -> Likeness:
    return Likeness(url="http://a:8000", model=model, version=version, max_model_len=4096, cache=CACHE)


def like(flags: str = "", levers: str | None = None, question: Question | None = None) -> FoundStudy:
    return study_like(told(), CARD, TypedWords(tuple(flags.split())), levers, question or Question())


def test_the_servers_settings_are_the_baseline_to_beat_and_are_searched() -> None:
    found = like("--max-num-seqs 24 --tensor-parallel-size 2")
    problem = Problem.of(found.spec)
    own = problem.default.engine
    assert (own.max_num_seqs, own.gpu_memory_utilization, own.enable_prefix_caching) == (24, 0.85, False)
    assert (own.kv_cache_dtype, own.max_model_len, own.tensor_parallel_size) == ("fp8", 4096, 2)
    assert {"max_num_seqs", "gpu_memory_utilization", "enable_prefix_caching"} <= set(problem.choices.names)
    others = [problem.choices.candidate(problem.choices.params(row)) for row in problem.choices.index_matrix()]
    assert {one.engine.kv_cache_dtype for one in others} == {"fp8"}  # not searched: as the server has it
    assert {one.engine.max_num_seqs for one in others} == {16, 32, 64, 128, 256, 512}
    assert problem.default_words == "baseline settings"
    assert str(found.spec.engine.version) == "0.32.0"
    assert found.notes[0].startswith("like http://a:8000: the baseline to beat is ")
    assert found.notes[1].startswith("no server tells --max-num-batched-tokens: vLLM's defaults are taken")


def test_a_layout_is_the_baselines_where_layouts_are_searched() -> None:
    problem = Problem.of(like("--tensor-parallel-size 2", levers="layout").spec)
    assert {"1xtp2", "2xtp1"} == set(problem.choices.searched["layout"])
    assert str(problem.default.layout) == "1xtp2"
    alone = Problem.of(like("--tensor-parallel-size 1", levers="layout").spec)
    assert str(alone.default.layout) == "1xtp1"


def test_what_only_a_person_knows_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"no server tells its cards: name them with --gpu .*--max-num-seqs") as error:
        study_like(told(), StudySource(), TypedWords())
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="does not say which model it serves; name it with --model"):
        study_like(told(model=None), CARD, TypedWords())
    with pytest.raises(InputError, match="serves /models/none, which is a path on its machine and not here"):
        study_like(told(model="/models/none"), CARD, TypedWords())


def test_a_throughput_is_asked_of_a_closed_loop_and_a_latency_at_the_servers_rate() -> None:
    found = with_traffic(like(), LOAD, Question())
    assert isinstance(found.spec.workload, Workload)
    assert (found.spec.workload.concurrency, found.spec.workload.request_rate) == (12, None)
    assert found.spec.workload.max_total_tokens <= 4096
    assert "load: 12 requests in flight" in found.notes[-1]
    slow = with_traffic(like(question=Question(objective="latency")), LOAD, Question(objective="latency"))
    assert isinstance(slow.spec.workload, Workload)
    assert slow.spec.workload.request_rate == 3.0
    more = with_traffic(like(), LOAD, Question(concurrency=40))
    assert isinstance(more.spec.workload, Workload)
    assert more.spec.workload.concurrency == 40


def test_its_name_does_not_depend_on_the_traffic_and_an_earlier_study_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = like("--max-num-seqs 24")
    assert found.folder == with_traffic(found, LOAD, Question()).folder
    assert like("--max-num-seqs 32").folder != found.folder
    refuse_earlier(found)
    found.folder.mkdir(parents=True)
    (found.folder / "study.yaml").write_text("name: x\n")
    with pytest.raises(InputError, match=r"is there already; planner tune studies/\S+ goes on with it"):
        refuse_earlier(found)


def test_settings_that_are_fixed_beside_the_study_win() -> None:
    spec = like("--max-num-seqs 24").spec
    engine = structs.replace(spec.engine, settings=EngineConfig(max_num_seqs=64))
    problem = Problem.of(structs.replace(spec, engine=engine))
    assert problem.default.engine.max_num_seqs == 64
    assert "max_num_seqs" not in problem.choices.names
    assert settings(spec.baseline)["max_num_seqs"] == 24
