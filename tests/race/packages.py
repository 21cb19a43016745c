"""`python -m tests.race.packages`: vllm-tuner and vllm-optimizer themselves, on recorded landscapes.

Each package is installed in a venv of its own and run from its command line, with its own defaults for the search, as
for any user; only the `vllm` it finds on PATH is ours (`table_engine.py`). A package searches products of values, so
only landscapes race here on which every combination was measured. Runs are kept in `build/race-packages`, finished ones
are not repeated, and all are gathered in `packages.json`, which page.py shows. `make race-packages`: hours of waiting,
port 8000 must be free, and vllm-optimizer wants Python 3.11 or 3.12.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml
from packaging.version import Version

from planner.engine.command.meaning import read_extra_args
from planner.engine.command.pasted import read_line
from planner.engine.config import EngineConfig, convert_settings, settings
from planner.model.catalog import shipped_config
from planner.study.candidate import Candidate, Value
from tests.race import table_engine
from tests.race.landscapes import Landscape, load_all
from tests.race.package_runs import PackageResults, PackageRun, write_results

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "race-packages"
RUN_FILE = "run.json"
METRIC = "output_throughput"
CONCURRENCY, LOAD_S = 1, 6
"""Of vllm-tuner's benchmark; table_engine.py answers at the recorded speed whatever they are. Its clock runs on while
requests in flight are cancelled: with one there are none. The runs in packages.json had 2 s; 6 s are less noise on a
busy machine."""
OPTIMIZER_TRIALS = 20
"""vllm-optimizer has no default for the trials of its TPE."""


# --- the two packages -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuner:
    """vllm-tuner: TPE, 50 trials of which 10 are random, no seed: its defaults. It measures with its own HTTP client.

    Its warm start reads the model's config.json, which it finds in a Hugging Face cache made here.
    """

    venv = "vllm-tuner"
    requirements = ("vllm-tuner[http]==0.1.6", "optuna==4.7.0")

    def run(self, landscape: Landscape, seed: int, folder: Path, env: Mapping[str, str]) -> None:  # noqa: ARG002
        model = next(iter(landscape.problem.spec.models.values())).path
        _fill_hub(folder / "hub", model)
        parameters = [
            {"name": name, "options": [_text(value) for value in values]}
            for name, values in landscape.problem.choices.searched.items()
        ]
        config = {
            "model": model,
            "study": {"name": "race"},
            "parameters": parameters,
            "static_parameters": _fixed(landscape),
            "benchmark": {
                "provider": "http",
                "prompt_tokens": 16,
                "output_tokens": 16,
                "concurrent_requests": CONCURRENCY,
                "max_seconds": LOAD_S,
            },
            "output": {"directory": "out"},
        }
        (folder / "config.yaml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
        cli = [str(_bin(self.venv) / "python"), "-m", "vllm_tuner.cli.main"]
        hub = {"HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
        _call([*cli, "run", "--config", "config.yaml"], folder, {**env, **hub})
        export = ["--study_name", "race", "--storage", "sqlite:///out/study.db", "--output", "best.yaml"]
        _call([*cli, "export", *export], folder, {**env, **hub})

    def exported(self, folder: Path, version: Version) -> EngineConfig:  # noqa: ARG002
        return convert_settings(yaml.safe_load((folder / "best.yaml").read_text("utf-8")), "best.yaml")

    def measured(self, folder: Path) -> dict[int, float]:
        """By launch, output tokens/s. It writes no file about its baseline."""
        found = {}
        for path in folder.glob("out/study_data/race/trial_*.json"):
            trial = json.loads(path.read_text("utf-8"))
            if trial["benchmark"]:
                speed = trial["benchmark"]["output_tokens_per_sec"] / table_engine.TOKENS_FACTOR
                found[trial["trial_number"] + 1] = speed
        return found


@dataclass(frozen=True)
class Optimizer:
    """vllm-optimizer: its default sampler is the grid, over everything; its TPE is told how many trials and a seed.

    It measures with `vllm bench serve`, four repeats a launch, its default.
    """

    sampler: str | None

    venv = "vllm-optimizer"
    requirements = ("vllm-optimizer==0.1.0a21", "optuna==4.9.0")

    def run(self, landscape: Landscape, seed: int, folder: Path, env: Mapping[str, str]) -> None:
        spec, workload = landscape.problem.spec, landscape.problem.workload
        model = folder / "model"
        model.mkdir()
        (model / "config.json").write_text(_config_json(next(iter(spec.models.values())).path), "utf-8")
        chosen = {"sampler": self.sampler, "trials": OPTIMIZER_TRIALS} if self.sampler else {}
        load = {"max-concurrency": workload.concurrency, "num-prompts": workload.num_requests}
        config = {
            "schema_version": 1,
            "experiment": {"name": "race", "output_dir": "out", **({"seed": seed} if self.sampler else {})},
            "server": {"model": str(model), **_fixed(landscape)},
            "tune": {name: {"values": values} for name, values in landscape.problem.choices.searched.items()},
            "benchmark": {"engine": "vllm", "runs": [{"name": "load", "args": load}]},
            "optimization": {"maximize": "output_tokens_per_second", **chosen},
        }
        (folder / "config.yaml").write_text(json.dumps(config), "utf-8")
        cli = str(_bin(self.venv) / "vllm-opt")
        _call([cli, "--config", "config.yaml"], folder, env)
        best = self._result(folder)["best"]["trial_id"]
        line = _call([cli, "export", "--run", str(self._result_path(folder).parent), "--trial", best], folder, env)
        (folder / "best.txt").write_text(line, "utf-8")

    def _result_path(self, folder: Path) -> Path:
        return next(folder.glob("out/race/*/result.json"))

    def _result(self, folder: Path) -> dict[str, Any]:
        return json.loads(self._result_path(folder).read_text("utf-8"))

    def exported(self, folder: Path, version: Version) -> EngineConfig:
        line = (folder / "best.txt").read_text("utf-8")
        return read_extra_args(read_line([line]).words, version, "best.txt").settings

    def measured(self, folder: Path) -> dict[int, float]:
        result = self._result(folder)
        order = {trial["trial_id"]: i for i, trial in enumerate(result["trials"])}
        return {order[one["trial_id"]]: one["score"] for one in [result["baseline"], *result["ranking"]] if one}


CONTESTANTS: dict[str, Tuner | Optimizer] = {
    "vllm-tuner": Tuner(), "vllm-optimizer": Optimizer("tpe"), "vllm-optimizer grid": Optimizer(None),
}  # fmt: skip


def _bin(venv: str) -> Path:
    return BUILD / "venvs" / venv / "bin"


def install(contestant: Tuner | Optimizer) -> None:
    if not _bin(contestant.venv).is_dir():
        subprocess.run([sys.executable, "-m", "venv", _bin(contestant.venv).parent], check=True)
        subprocess.run([_bin(contestant.venv) / "pip", "install", "--quiet", *contestant.requirements], check=True)


def _call(argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> str:
    """What it printed. It may end in failure where trials failed: the files it left decide."""
    done = subprocess.run(argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"$ {shlex.join(argv)}\n{done.stdout}{done.stderr}exit {done.returncode}\n")
    return done.stdout


def _fixed(landscape: Landscape) -> dict[str, Any]:
    engine = settings(landscape.problem.default.engine)
    return {name: value for name, value in engine.items() if name not in landscape.problem.choices.searched}


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _config_json(model: str) -> str:
    return json.dumps({name: value for name, value in shipped_config(model).items() if not name.startswith("_")})


def _fill_hub(hub: Path, model: str) -> None:
    """A Hugging Face cache that holds the model's config.json."""
    commit = "0" * 40
    repository = hub / f"models--{model.replace('/', '--')}"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit, "utf-8")
    (repository / "snapshots" / commit / "config.json").write_text(_config_json(model), "utf-8")


# --- one run ----------------------------------------------------------------------------------------------------------


def can_race(landscape: Landscape) -> bool:
    """Every combination was measured, and regrets mean something."""
    return len(landscape.searched) == landscape.problem.choices.size and not landscape.is_noisy


def _values(landscape: Landscape, candidate: Candidate) -> tuple[Value, ...]:
    choices = landscape.problem.choices
    return tuple(choices.value_of(candidate, name) for name in choices.names)


def _table(landscape: Landscape, seed: int) -> dict[str, Any]:
    records: dict[str, list[dict[str, Any]]] = {}
    for key, candidate in landscape.searched.items():
        for record in landscape.by_candidate[key]:
            if not record.results:
                assert record.failure is not None
                one: dict[str, Any] = {"error": record.failure.message}
            else:
                counts = {"completed": record.results[0].completed, "failed": record.results[0].failed}
                one = {"metrics": {METRIC: record.results[0].metrics[METRIC], **counts}}
            records.setdefault(" ".join(map(_text, _values(landscape, candidate))), []).append(one)
    default = map(_text, _values(landscape, landscape.problem.default))
    return {
        "seed": seed,
        "default": dict(zip(landscape.problem.choices.names, default, strict=True)),
        "records": records,
    }


def run(name: str, landscape: Landscape, seed: int, folder: Path) -> PackageRun:
    """Run the package in the folder, which must not exist yet."""
    contestant = CONTESTANTS[name]
    folder.mkdir(parents=True)
    table = _table(landscape, seed)
    (folder / table_engine.TABLE_FILE).write_text(json.dumps(table), "utf-8")
    (folder / "bin").mkdir()
    vllm = folder / "bin" / "vllm"
    vllm.write_text(f'#!/bin/sh\nexec {sys.executable} -I {table_engine.__file__} "$@"\n', "utf-8")
    vllm.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    path = os.pathsep.join([str(vllm.parent), str(_bin(contestant.venv)), kept["PATH"]])
    began = time.monotonic()
    contestant.run(landscape, seed, folder, {**kept, "PATH": path, table_engine.FOLDER_ENV: str(folder)})
    wall_s = time.monotonic() - began
    choices = landscape.problem.choices
    ledger = [json.loads(line) for line in (folder / table_engine.LAUNCHES_FILE).read_text("utf-8").splitlines()]
    seen = [None if line["metrics"] is None else line["metrics"][METRIC] for line in ledger]
    measured = contestant.measured(folder)
    exported = contestant.exported(folder, landscape.problem.version)
    found = choices.candidate({name: getattr(exported, name) for name in choices.names})
    if landscape.problem.row_of(found) is None:  # its baseline: no flags
        found = landscape.problem.default
    return PackageRun(
        package=name,
        landscape=landscape.name,
        seed=seed,
        names=tuple(choices.names),
        launches=tuple(_typed(choices.names, line["values"]) for line in ledger),
        seen=tuple(seen),
        exported=_values(landscape, found),
        measured=tuple(round(measured[i], 2) if i in measured else None for i in range(len(ledger))),
        wall_s=round(wall_s, 1),
    )


def _typed(names: Sequence[str], values: Sequence[str]) -> tuple[Value, ...]:
    engine = convert_settings(dict(zip(names, values, strict=True)), table_engine.LAUNCHES_FILE)
    return tuple(getattr(engine, name) for name in names)


def run_once(name: str, landscape: Landscape, seed: int) -> None:
    """Unless it was run already; what an interrupted run left is removed."""
    folder = BUILD / "runs" / landscape.name / name.replace(" ", "-") / str(seed)
    if (folder / RUN_FILE).exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    done = run(name, landscape, seed, folder)
    (folder / RUN_FILE).write_bytes(msgspec.json.encode(done))
    print(f"{name} on {landscape.name}, seed {seed}: {len(done.launches)} launches in {done.wall_s:.0f} s", flush=True)


def gather() -> PackageResults:
    runs = [msgspec.json.decode(path.read_bytes(), type=PackageRun) for path in BUILD.glob(f"runs/*/*/*/{RUN_FILE}")]
    versions = {one.venv: one.requirements[0].partition("==")[2] for one in CONTESTANTS.values()}
    order = list(CONTESTANTS)
    runs.sort(key=lambda one: (one.landscape, order.index(one.package), one.seed))
    return PackageResults(versions=versions, runs=tuple(runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only landscapes with this in their name")
    parser.add_argument("--packages", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    for name in args.packages:
        install(CONTESTANTS[name])
    for landscape in load_all():
        if can_race(landscape) and args.only in landscape.name:
            for name in args.packages:
                for seed in range(args.seeds):
                    run_once(name, landscape, seed)
    write_results(gather())


if __name__ == "__main__":
    main()
