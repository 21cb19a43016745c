"""A candidate as containers: the same facts for a script and for the Docker Engine's API."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from planner.engine.flags import compile_cache_env
from planner.errors import InputError
from planner.launch.ownership import LAUNCHER
from planner.launch.runs import service_runs, trial_runs
from planner.study.problem import Problem

Make = Callable[..., Problem]
CONTAINER = {
    "image": "registry:5000/vllm:v0.8.5",
    "model_mount": "/models/",
    "cpuset_cpus": "0-55",
    "ipc": "private",
    "shm_size": "8GiB",
}
ODD_PATH = "/data/my models/it's $HOME/Qwen3"


@pytest.fixture
def problem(make_problem: Make) -> Problem:
    return make_problem(
        container=CONTAINER,
        models={"small": {"path": ODD_PATH, "architecture": "Qwen/Qwen3-8B"}},
        engine__env={"VLLM_LOGGING_LEVEL": "a b=$c"},
        engine__settings={"dtype": "half", "max_model_len": 4096, "attention_backend": "XFORMERS"},
        serve={"name": "coder", "host_port": 8888},
    )


def _options(argv: list[str]) -> dict[str, list[str]]:
    """The options of a `docker run` argv by name, whichever way their values are joined."""
    found: dict[str, list[str]] = {}
    words = argv[2:]
    while words[0].startswith("-"):
        name, has_value, value = words.pop(0).partition("=")
        if not has_value and name != "-d":
            value = words.pop(0)
        found.setdefault(name, []).append(value)
    return {**found, "image": words[:1], "command": words[1:]}


def test_script_and_api_say_the_same(problem: Problem) -> None:
    for run in (*trial_runs(problem, problem.default, 7), *service_runs(problem, problem.default)):
        words, kwargs = _options(run.argv()), run.to_docker_kwargs()
        assert words["image"] == [kwargs["image"]]
        assert words["command"] == kwargs["command"]
        assert words["--name"] == [kwargs["name"]]
        assert words["-e"] == [f"{name}={value}" for name, value in kwargs["environment"].items()]
        assert [word if word.endswith(":ro") else f"{word}:rw" for word in words["-v"]] == [
            f"{host}:{mount['bind']}:{mount['mode']}" for host, mount in kwargs["volumes"].items()
        ]
        assert words["--security-opt"] == kwargs["security_opt"]
        assert words["--cap-drop"] == kwargs["cap_drop"]
        assert words["--ulimit"] == [f"{limit['Name']}={limit['Hard']}" for limit in kwargs["ulimits"]]
        assert all(limit["Soft"] == limit["Hard"] for limit in kwargs["ulimits"])
        assert words["--ipc"] == [kwargs["ipc_mode"]]
        assert words["--shm-size"] == [str(kwargs["shm_size"])]
        assert words["--cpuset-cpus"] == [kwargs["cpuset_cpus"]]
        assert words["--runtime"] == [kwargs["runtime"]]
        assert words["--gpus"] == [f'"device={",".join(kwargs["device_requests"][0]["DeviceIDs"])}"']
        assert words.get("--restart", [None]) == [kwargs.get("restart_policy", {}).get("Name")]
        assert words.get("--label", []) == [f"{name}={value}" for name, value in kwargs["labels"].items()]
        ((inside, (host_ip, host_port)),) = kwargs["ports"].items()
        ip = "" if host_ip == "0.0.0.0" else f"{host_ip}:"  # noqa: S104  (Docker's word for every address)
        assert words["-p"] == [f"{ip}{host_port or ''}:{inside.removesuffix('/tcp')}"]


def test_what_is_launched(problem: Problem) -> None:
    run = trial_runs(problem, problem.default, 7)[0]
    assert run.volumes == {ODD_PATH: "/models/Qwen3", "planner-tiny-compile-cache": "/compile-cache"}
    own = {"VLLM_LOGGING_LEVEL": "a b=$c", "VLLM_ATTENTION_BACKEND": "XFORMERS"}
    assert run.env == compile_cache_env("/compile-cache") | own
    assert run.command == (
        *("--model", "/models/Qwen3", "--served-model-name", "coder"),
        *("--dtype", "half", "--tensor-parallel-size", "1", "--max-model-len", "4096"),
    )


def test_two_instances_share_no_card_name_or_port(problem: Problem) -> None:
    assert problem.default.layout.instances == 2
    first, second = service_runs(problem, problem.default)
    assert (first.gpu_ids, second.gpu_ids) == ((0,), (1,))
    assert (first.host_port, second.host_port) == (8888, 8889)
    assert (first.name, second.name) == ("coder", "coder-1")
    trials = trial_runs(problem, problem.default, 7)
    assert len({run.name for run in trials}) == 2
    assert {(run.host_ip, run.host_port) for run in trials} == {("127.0.0.1", None)}
    assert {tuple(run.labels.items()) for run in trials} == {
        (("planner.study", "tiny"), ("planner.trial", "7"), ("planner.launcher", LAUNCHER.id))
    }


@pytest.mark.parametrize(
    ("layout", "num_gpus", "cards"),
    [
        ("1xtp4", 4, [None]),
        ("1xtp2", 4, [(0, 1)]),
        ("2xtp2", 4, [(0, 1), (2, 3)]),
        ("1xtp2pp2", 4, [None]),
        ("4xtp1", 4, [(0,), (1,), (2,), (3,)]),
    ],
)
def test_cards_are_shared_out(make_problem: Make, layout: str, num_gpus: int, cards: list[Any]) -> None:
    problem = make_problem(hardware__num_gpus=num_gpus, search_space={"search": {"layout": [layout]}})
    assert [run.gpu_ids for run in service_runs(problem, problem.default)] == cards


def test_all_cards_are_asked_for_by_all(make_problem: Make) -> None:
    problem = make_problem(search_space={"search": {}})
    (run,) = service_runs(problem, problem.default)
    assert "--gpus=all" in run.argv()
    assert run.to_docker_kwargs()["device_requests"][0]["Count"] == -1


def test_a_cpu_engine_gets_no_card(make_problem: Make) -> None:
    problem = make_problem(
        hardware={"gpu": "CPU"},
        engine={"version": "0.32.0"},
        models={"m": {"path": "Qwen/Qwen3-0.6B"}},
        search_space={"search": {}},
    )
    (run,) = trial_runs(problem, problem.default, 0)
    assert not [word for word in run.argv() if re.match("--(gpus|runtime)", word)]
    assert not {"runtime", "device_requests"} & set(run.to_docker_kwargs())
    assert list(run.volumes) == ["planner-tiny-compile-cache"]  # a Hub name: the container fetches it
    assert run.command[:2] == ("--model", "Qwen/Qwen3-0.6B")


def test_without_a_container_section_the_missing_key_is_named(make_problem: Make) -> None:
    problem = make_problem(container=None)
    with pytest.raises(InputError, match="tiny: container: missing key"):
        trial_runs(problem, problem.default, 0)


def test_compiled_code_stays_with_the_study_and_with_the_service(problem: Problem) -> None:
    trials, services = trial_runs(problem, problem.default, 7), service_runs(problem, problem.default)
    for runs in (trials, services):
        assert {volume for run in runs for volume in run.volumes} == {ODD_PATH, "planner-tiny-compile-cache"}
    for run in (*trials, *services):
        assert run.env["VLLM_CACHE_ROOT"] == "/compile-cache/vllm"


def test_the_compile_cache_can_be_switched_off_or_put_elsewhere(make_problem: Make) -> None:
    off = make_problem(engine__compile_cache=False)
    run = trial_runs(off, off.default, 0)[0]
    assert (run.volumes, run.env) == ({}, {})
    own = make_problem(engine__env={"VLLM_CACHE_ROOT": "/mine"})
    assert trial_runs(own, own.default, 0)[0].env["VLLM_CACHE_ROOT"] == "/mine"


MORE_RIGHTS = re.compile(r"--(privileged|cap-add|device|pid|userns|uts|net|network|group-add|volumes-from)\b")


@pytest.mark.parametrize("of_cpu", [False, True])
def test_a_container_has_no_more_rights_than_it_needs(make_problem: Make, of_cpu: bool) -> None:
    changes: dict[str, Any] = {"models": {"small": {"path": "/data/Qwen3", "architecture": "Qwen/Qwen3-8B"}}}
    if of_cpu:
        changes |= {"hardware": {"gpu": "CPU"}, "engine": {"version": "0.32.0"}, "search_space": {"search": {}}}
    problem = make_problem(**changes)
    trials, services = trial_runs(problem, problem.default, 7), service_runs(problem, problem.default)
    for run in (*trials, *services):
        options = [word for option in run.options() for word in option]
        assert "--security-opt=no-new-privileges:true" in options
        assert {"--cap-drop=NET_RAW", "--cap-drop=MKNOD"} <= set(options)
        assert not [word for word in options if MORE_RIGHTS.match(word)]
        assert "/data/Qwen3:/model/Qwen3:ro" in options
        mounts = {host: mount for host, mount in run.to_docker_kwargs()["volumes"].items() if host.startswith("/")}
        assert mounts == {"/data/Qwen3": {"bind": "/model/Qwen3", "mode": "ro"}}, "the model, and nothing of the host"
        kwargs, service = run.to_docker_kwargs(), run.to_compose()
        more = {
            "privileged",
            "cap_add",
            "devices",
            "pid_mode",
            "pid",
            "network_mode",
            "userns_mode",
            "user",
            "group_add",
        }
        assert not more & (set(kwargs) | set(service))
        assert kwargs["security_opt"] == service["security_opt"] == ["no-new-privileges:true"]
        assert kwargs["cap_drop"] == service["cap_drop"] == ["MKNOD", "NET_RAW"]
        assert [mount.get("read_only", False) for mount in service["volumes"]] == [True, False]
    assert {run.to_docker_kwargs()["ports"]["8000/tcp"][0] for run in trials} == {"127.0.0.1"}
    assert {run.argv()[run.argv().index("-p") + 1] for run in trials} == {"127.0.0.1::8000"}


def test_a_path_that_docker_would_cut_in_two_is_refused(make_problem: Make) -> None:
    problem = make_problem(models={"small": {"path": "/data/a:rw", "architecture": "Qwen/Qwen3-8B"}})
    with pytest.raises(InputError, match=r"models\.small\.path: /data/a:rw: Docker mounts no path with a colon"):
        trial_runs(problem, problem.default, 0)
