"""Search spaces, layouts, candidates and their place on the grid."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from planner.engine.config import EngineConfig
from planner.engine.levers import LEVERS
from planner.errors import InputError
from planner.study.candidate import Candidate, Choices, Layout, parse_layout
from planner.study.space import Range, SearchSpace, with_levers


@pytest.mark.parametrize(
    ("low", "high", "step", "values"),
    [
        (0.88, 0.96, 0.02, [0.88, 0.9, 0.92, 0.94, 0.96]),
        (8, 32, 8, [8, 16, 24, 32]),
        (1, 1, 1, [1]),
        (0, 10, 4, [0, 4, 8]),
        (0.1, 0.7, 0.1, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),  # no binary crumbs, no value lost
        (0.5, 2, 0.5, [0.5, 1.0, 1.5, 2.0]),
    ],
)
def test_a_range_includes_both_ends(low: float, high: float, step: float, values: list[float]) -> None:
    found = Range(low, high, step).values()
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "layout"),
    [("1xtp4", Layout(1, 4)), ("2xtp2", Layout(2, 2)), ("1xtp2pp2", Layout(1, 2, 2)), ("12xtp1", Layout(12, 1))],
)
def test_layouts_are_read_and_written(text: str, layout: Layout) -> None:
    assert parse_layout(text) == layout
    assert str(layout) == text


@pytest.mark.parametrize("text", ["", "tp4", "0xtp4", "1xtp0", "2 x tp2", "1xtp4pp0", "1xtp4x"])
def test_what_is_no_layout_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="write INSTANCESxtpN"):
        parse_layout(text)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"max_num_seq": [1]}, "search.max_num_seq: unknown; allowed: a vLLM setting such as max_num_seqs, layout"),
        ({"max_num_seqs": []}, "search.max_num_seqs: has no values"),
        ({"max_num_seqs": [8, 8]}, "search.max_num_seqs: names a value twice"),
        ({"max_num_seqs": [0]}, "max_num_seqs: Expected `int` >= 1"),
        ({"layout": ["4"]}, "layout '4': write"),
        (
            {"gpu_memory_utilization": {"low": 0.9, "high": 1.1, "step": 0.1}},
            "gpu_memory_utilization: Expected `float`",
        ),
        ({"gpu_memory_utilization": {"low": 0.9, "high": 0.8, "step": 0.1}}, "low 0.9 is above high 0.8"),
        ({"block_size": {"low": 8, "high": 16, "step": 0}}, "Expected `float` > 0"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(search: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"search": search}, SearchSpace)
    assert message in str(caught.value)


def _choices(**searched: list[Any]) -> Choices:
    return Choices(
        searched,
        EngineConfig(dtype="half", max_model_len=4096),
        "awq",
        Layout(1, 4),
        {"awq": EngineConfig(quantization="awq", max_model_len=2048), "fp16": EngineConfig()},
        {"A": "1"},
    )


def test_a_candidate_is_fixed_then_variant_then_searched() -> None:
    choices = _choices(model=["awq", "fp16"], layout=["2xtp2"], max_num_seqs=[None, 8], **{"env.B": [None, 2]})
    made = choices.candidate({"model": "awq", "layout": "2xtp2", "max_num_seqs": 8, "env.B": 2})
    assert made == Candidate(
        model="awq",
        layout=Layout(2, 2),
        engine=EngineConfig(
            dtype="half", quantization="awq", tensor_parallel_size=2, max_model_len=2048, max_num_seqs=8
        ),
        env=(("A", "1"), ("B", "2")),
    )
    assert choices.candidate({"model": "awq", "max_model_len": 1024}).engine.max_model_len == 1024
    assert choices.candidate({"model": "fp16"}).engine == EngineConfig(
        dtype="half", tensor_parallel_size=4, max_model_len=4096
    )


def test_the_default_takes_the_first_layout_and_model_and_nothing_else() -> None:
    choices = _choices(max_num_seqs=[8, 16], layout=["2xtp2", "1xtp4"], model=["fp16", "awq"])
    default = choices.default_candidate()
    assert (default.model, default.layout, default.engine.max_num_seqs) == ("fp16", Layout(2, 2), None)
    assert choices.row_of(default) is None  # the engine's own 256 is not one of the values
    assert _choices(max_num_seqs=[None, 8]).row_of(_choices(max_num_seqs=[None, 8]).default_candidate()) == 0


def test_rows_and_candidates_correspond() -> None:
    choices = _choices(
        layout=["1xtp4", "2xtp2"],
        swap_space=[0, 4],  # whole numbers for a setting that is a float
        enable_prefix_caching=[False, True],
        max_num_seqs=[None, 8, 16],
        **{"env.B": [None, 0, "x"]},
    )
    matrix = choices.index_matrix()
    assert choices.size == len(matrix) == 72
    candidates = [choices.candidate(choices.params(row)) for row in matrix]
    assert [choices.row_of(candidate) for candidate in candidates] == list(range(72))
    assert len({candidate.key for candidate in candidates}) == 72


def test_nothing_searched_is_one_point() -> None:
    choices = _choices()
    assert choices.size == len(choices.index_matrix()) == 1
    assert choices.row_of(choices.default_candidate()) == 0


# --- levers ---

SPACE = {
    "search": {"max_num_seqs": [8, 16], "enforce_eager": [False, True]},
    "levers": {
        "layout": ["1xtp8", "1xtp4", "2xtp2", "1xtp2", "1xtp1"],
        "kv_cache_dtype": ["auto", "fp8"],
        "env.A": ["0", "1"],
    },
}


def _space(**changes: Any) -> SearchSpace:
    return msgspec.convert({**SPACE, **changes}, SearchSpace)


@pytest.mark.parametrize(
    ("levers", "searched"),
    [
        (("scheduler",), ["max_num_seqs"]),
        (("layout",), ["layout"]),
        (("numerics",), ["kv_cache_dtype"]),
        (("engine",), ["enforce_eager", "env.A"]),
        (LEVERS, ["max_num_seqs", "enforce_eager", "layout", "kv_cache_dtype", "env.A"]),
    ],
)
def test_levers_choose_groups_from_both_sections(levers: tuple[str, ...], searched: list[str]) -> None:
    space = with_levers(_space(), levers, ["m"], 4)
    assert list(space.search) == searched
    assert space.search.keys() | space.levers.keys() == SPACE["search"].keys() | SPACE["levers"].keys()
    assert with_levers(space, levers, ["m"], 4) == space, "the same words say the same on a study that was kept"


@pytest.mark.parametrize(
    ("cards", "layouts"), [(1, ["1xtp1"]), (3, ["1xtp2"]), (4, ["1xtp4", "2xtp2"]), (16, ["1xtp8"])]
)
def test_layouts_of_levers_leave_the_fewest_cards_idle(cards: int, layouts: list[str]) -> None:
    assert with_levers(_space(), ("layout",), ["m"], cards).search["layout"] == layouts


def test_model_variants_are_numerics() -> None:
    assert with_levers(_space(), ("numerics",), ["awq", "fp16"], 1).search["model"] == ["awq", "fp16"]
    assert with_levers(_space(), ("scheduler",), ["awq", "fp16"], 1).search["model"] == ["awq"]
    assert list(with_levers(_space(levers={}), ("numerics",), ["awq", "fp16"], 1).search) == ["model"]


def test_a_group_the_space_lacks_is_named() -> None:
    with pytest.raises(InputError, match=r"^--levers numerics: inline has no such setting; it has: scheduler, engine$"):
        with_levers(_space(levers={}), ("numerics",), ["m"], 1)


def test_a_setting_stands_in_one_section() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"levers\.max_num_seqs: is under search too"):
        _space(levers={"max_num_seqs": [1]})
    with pytest.raises(msgspec.ValidationError, match=r"fixed\.block_size: is under search too"):
        _space(fixed={"block_size": 16}, search={"block_size": [16, 32]})
    with pytest.raises(msgspec.ValidationError, match=r"fixed\.max_num_seqs: is under levers too"):
        _space(fixed={"max_num_seqs": 4}, search={"block_size": [16]}, levers={"max_num_seqs": [1, 2]})
    with pytest.raises(msgspec.ValidationError, match=r"levers\.nonsense: unknown"):
        _space(levers={"nonsense": [1]})
