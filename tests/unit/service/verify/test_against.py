"""Two images in turn: a planted loss is found with its interval, equal ones do not hurt; launches in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planner.errors import EngineError, InputError
from planner.service.export.docker_script import run_sh
from planner.service.verify.against import NEXT, Launcher, OneLaunch, Upgrade, in_turn, with_image
from planner.service.verify.script import read_script
from planner.study import Candidate, Forecast, Problem, judge
from planner.trials import Repeats
from planner.tuning.measure import simulated

Make = Callable[..., Problem]
Run = Callable[[str], tuple[int, str, str]]
IMAGE = "vllm/vllm-openai:v9"
LOAD = {"concurrency": 8, "num_requests": 32, "input_tokens": 256, "output_tokens": 32}


def launcher(problem: Problem, other: Candidate) -> tuple[Launcher, list[int]]:
    """Launches the default for one image and `other` for the other, each with a pace of its own; and their order."""
    measure, order = simulated(Forecast(problem)), []

    def launch(which: int, number: int) -> OneLaunch:
        order.append(which)
        candidate = other if which == NEXT else problem.default
        found = measure(candidate, 10 * number + which, lambda *_: None, Repeats(number, 1))
        broken = [c.message for one in found.results for c in judge(problem.objective, one)[1] if c.excess > 0]
        return OneLaunch(
            metrics=found.metrics(), start_s=found.start_s, memory=None, broken=tuple(broken), simulated=True
        )

    return launch, order


def changed(problem: Problem, **settings: Any) -> Candidate:
    from msgspec import structs

    return structs.replace(problem.default, engine=structs.replace(problem.default.engine, **settings))


def answer(problem: Problem, rounds: int | None = None, **settings: Any) -> Upgrade:
    return in_turn(problem, IMAGE, launcher(problem, changed(problem, **settings))[0], rounds)


def test_a_planted_loss_is_found_with_its_interval(make_problem: Make) -> None:
    found = answer(make_problem(workload=LOAD), max_num_seqs=2)
    (one,) = found.compared
    assert (one.name, one.verdict, found.passed) == ("output_throughput", "worse", False)
    assert one.change.high < 0
    assert one.change.low < one.next / one.now - 1 < one.change.high
    assert found.table().notes[-1] == "hurts: output_throughput"
    document = json.loads(json.dumps(found.document()))
    assert (document["hurts"], document["rounds"]) == (["output_throughput"], 4)


def test_equal_ones_do_not_hurt_and_what_would_not_be_seen_is_said(make_problem: Make) -> None:
    found = answer(make_problem(workload=LOAD))
    assert found.passed
    assert found.compared[0].verdict in {"no difference seen", "the same within 1 %"}
    assert found.table().notes[-1].startswith("does not hurt: a loss of ")
    assert "would not be seen" in found.table().notes[-1]
    assert found.compared[0].most_loss < 0.03


def test_a_gain_is_said_too(make_problem: Make) -> None:
    problem = make_problem(workload=LOAD, engine__settings={"dtype": "half", "max_model_len": 4096, "max_num_seqs": 2})
    found = answer(problem, max_num_seqs=64)
    assert found.passed
    assert found.table().notes[-1].endswith("better: output_throughput")


def test_both_are_first_in_turn_and_rounds_are_as_many_as_asked(make_problem: Make) -> None:
    problem = make_problem(workload=LOAD)
    launch, order = launcher(problem, problem.default)
    assert in_turn(problem, IMAGE, launch, 2).rounds == 2
    assert order == [0, 1, 1, 0]


def test_a_limit_that_only_the_new_one_breaks_hurts(make_problem: Make) -> None:
    problem = make_problem(workload=LOAD)
    usual = in_turn(problem, IMAGE, launcher(problem, problem.default)[0], 2)
    goal = {"metric": "output_throughput", "slo": {"output_throughput": usual.compared[0].now / 2}}
    found = answer(make_problem(workload=LOAD, objective=goal), 2, max_num_seqs=1)
    assert any(words.startswith("limit broken: ") for words in found.hurts)


def test_an_image_that_does_not_serve_hurts_and_the_scripts_own_is_an_error(make_problem: Make) -> None:
    problem = make_problem(workload=LOAD)
    launch, _ = launcher(problem, problem.default)

    def fails(bad: int) -> Launcher:
        def tried(which: int, number: int) -> OneLaunch:
            if which == bad:
                raise EngineError("unrecognized arguments: --gone", "")
            return launch(which, number)

        return tried

    found = in_turn(problem, IMAGE, fails(1), 2)
    assert (found.passed, found.hurts) == (False, ["it does not serve: unrecognized arguments: --gone"])
    with pytest.raises(EngineError, match="unrecognized"):
        in_turn(problem, IMAGE, fails(0), 2)


def test_the_script_gets_the_other_image_and_nothing_else(make_problem: Make, launch: Any, tmp_path: Path) -> None:
    problem = make_problem()
    path = tmp_path / "run.sh"
    path.write_text(run_sh(problem, replace(launch(problem)[0], number=7), None), "utf-8")
    script = read_script(path)
    assert problem.spec.container is not None
    own = problem.spec.container.image
    text = with_image(script, problem, IMAGE)
    assert text.replace(IMAGE, own) == script.text
    assert (own in text, text.count(IMAGE)) == (False, script.text.count(own))
    with pytest.raises(InputError, match="is the image that the script starts; name another"):
        with_image(script, problem, own)
    with pytest.raises(InputError, match=r"does not start .*, the image of its study; export it anew"):
        with_image(replace(script, words=()), problem, IMAGE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run.sh --against x --soak 30min", "--soak and --against are two questions"),
        ("run.sh --against x --tolerance 0.1", "--against compares with no trial: leave out --storage and --tolerance"),
        ("run.sh --against x --repeats 1", "--repeats 1: one launch of each shows no noise"),
        ("none.sh --against x", "none.sh"),
    ],
)
def test_what_makes_no_sense_is_one_line(run: Run, words: str, message: str) -> None:
    code, _, err = run(f"verify {words}")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
