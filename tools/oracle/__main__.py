"""Ask vLLM in a container about every config.json of tests/golden/oracle/configs and write its answers beside them.

    python -m tools.oracle                        all questions, on the platforms of PLATFORMS
    python -m tools.oracle --only default-llama   some questions, by name or pattern
    python -m tools.oracle --missing              only questions that have no answer yet
    python -m tools.oracle --defaults             first write the default configs of the installed transformers anew
    python -m tools.oracle --vllm 0.33.0          another release: the Python of its CUDA wheel in the same image

In: the image planner-vllm-cpu:test (`python tests/images/build.py image`), the wheels of WHEELS from the package
index. Out: tests/golden/oracle/RELEASE/NAME.json. A refusal of vLLM is an answer; a question that could not be
asked is written as `failed` with its reason, and counted on the last line.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "oracle"
CONFIGS = GOLDEN / "configs"
SOURCES = CONFIGS / "sources.json"
QUANTIZATION = ".hf_quant_config"
"""NAME.hf_quant_config.json lies beside NAME.json as hf_quant_config.json lies beside a config.json."""
IMAGE = "planner-vllm-cpu:test"
RELEASE = "0.32.0"
"""vLLM's release in the image."""
WHEELS = (
    "triton==3.9.0", "torchvision==0.28.0", "cuda-bindings==13.0.3", "cuda-pathfinder==1.9.1",
    *(f"nvidia-cutlass-dsl{part}==4.8.0" for part in ("", "-libs-base", "-libs-core", "-libs-cu13")),
    "timm==1.0.20",
)  # fmt: skip
"""What vLLM 0.32 for CUDA imports and the image leaves out; none of it does anything here. Not tilelang (DeepSeek-V4),
whose TVM ends the process beside the image's."""
PLATFORMS = {"cuda-9.0": "*", "cuda-7.5": "case-*", "cpu": "case-*"}
"""Platforms and the names that are asked on them."""
MAX_MODEL_LEN = 8192
"""Tokens; a model with a shorter context is asked at its own."""
POOL_GIB = 40
"""GiB of one rank's pool for the KV cache."""


def questions(only: str) -> Iterator[dict[str, Any]]:
    """One question per config.json whose name fits the pattern."""
    for path in sorted(CONFIGS.glob("*.json")):
        if path == SOURCES or path.stem.endswith(QUANTIZATION) or not fnmatch.fnmatch(path.stem, only):
            continue
        files = {"config.json": json.loads(path.read_text("utf-8"))}
        beside = path.with_name(f"{path.stem}{QUANTIZATION}.json")
        if beside.exists():
            files["hf_quant_config.json"] = json.loads(beside.read_text("utf-8"))
        yield {"name": path.stem, "files": files, "max_model_len": MAX_MODEL_LEN, "pool_gib": POOL_GIB}


def packages(*wheels: str) -> Path:
    """A folder with the Python and the libraries of `wheels`, fetched once; of vLLM's own only the Python."""
    home = Path(os.environ.get("PLANNER_BUILD_DIR") or Path.home() / ".cache/planner/build")
    work = home / "oracle" / hashlib.sha256(repr(wheels).encode()).hexdigest()[:12]
    done = work / "done"
    if not done.exists():
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (28, 27, 17)]
        subprocess.run([*pip, "--python-version=3.11", *platforms, "-d", work / "wheels", *wheels], check=True)
        for path in (work / "wheels").glob("*.whl"):
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
                if path.name.startswith("vllm"):
                    members = [name for name in members if not name.endswith((".so", ".cubin"))]
                archive.extractall(work / "packages", members)
        done.touch()
    return work / "packages"


def in_container(
    script: str, *given: str, lines: Iterable[str] = (), release: str | None = None
) -> Iterator[dict[str, Any]]:
    """The JSON lines that a script of this folder prints in the image, on one processor and without a network.

    `release` is that of another vLLM than the image's.
    """
    volumes = {"/oracle": Path(__file__).parent, "/packages": packages(*WHEELS)}
    path = ["/opt/vllm", "/packages", "/packages/nvidia_cutlass_dsl/dsl_packages"]
    if release:
        volumes["/release"] = packages(f"vllm=={release}")
        path.insert(0, "/release")
    command = [
        "docker", "run", "--rm", "--interactive", "--network=none", "--cpus=1",
        *(f"--volume={folder}:{place}:ro" for place, folder in volumes.items()),
        f"--env=PYTHONPATH={':'.join(path)}", "--entrypoint=nice",
        IMAGE, "-n5", "python3", f"/oracle/{script}", *given,
    ]  # fmt: skip
    log = ROOT / "build" / "oracle.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("a") as errors, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        for line in lines:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            yield json.loads(process.stdout.readline() or sys.exit(f"the container stopped; see {log}"))
        process.stdin.close()
        yield from map(json.loads, process.stdout)
    if process.returncode:
        sys.exit(f"{script} failed with status {process.returncode}; see {log}")


def write_defaults() -> None:
    """Write configs/default-*.json and their sources anew."""
    for path in CONFIGS.glob("default-*.json"):
        path.unlink()
    sources = {name: source for name, source in read_sources().items() if not name.startswith("default-")}
    for entry in in_container("default_configs.py"):
        sources[entry["name"]] = entry["source"]
        (CONFIGS / f"{entry['name']}.json").write_text(json.dumps(entry["config"], indent=1) + "\n", "utf-8")
    SOURCES.write_text(json.dumps(dict(sorted(sources.items())), indent=1) + "\n", "utf-8")


def read_sources() -> dict[str, str]:
    """Where each config comes from, by name."""
    return json.loads(SOURCES.read_text("utf-8")) if SOURCES.exists() else {}


def document(name: str, answers: list[dict[str, Any]]) -> str:
    """The golden file: one line for each thing that changes on its own."""
    lines = []
    for answer in answers:
        body = {key: value for key, value in answer.items() if key not in {"name", "tensor_parallel", "modules"}}
        parts = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in body.items()]
        sizes = [f"   {json.dumps(size)}: {json.dumps(one)}" for size, one in answer["tensor_parallel"].items()]
        parts.append('  "tensor_parallel": {\n' + ",\n".join(sizes) + "\n  }")
        if answer.get("modules"):
            rows = ",\n".join(f"    {json.dumps(row)}" for row in answer["modules"]["rows"])
            columns = json.dumps(answer["modules"]["columns"])
            parts.append(f'  "modules": {{\n   "columns": {columns},\n   "rows": [\n{rows}\n   ]\n  }}')
        lines.append(" {\n" + ",\n".join(parts) + "\n }")
    return f'{{\n"name": {json.dumps(name)},\n"answers": [\n' + ",\n".join(lines) + "\n]\n}\n"


def is_answered(name: str, platform: str, release: str) -> bool:
    """Whether a golden file holds an answer of this platform and release; one that failed is none."""
    path = GOLDEN / release / f"{name}.json"
    told = json.loads(path.read_text("utf-8"))["answers"] if path.exists() else []
    return any(
        one["platform"]["name"] == platform
        and not any("failed" in answer for answer in one["tensor_parallel"].values())
        for one in told
    )


def write_answers(only: str, platforms: list[str], release: str | None, missing: bool) -> None:
    """Ask and write. Answers of platforms that are not asked now are kept; only the first has its modules."""
    failed = asked = 0
    for platform in platforms:
        chosen = [one for one in questions(only) if fnmatch.fnmatch(one["name"], PLATFORMS[platform])]
        if missing:
            chosen = [one for one in chosen if not is_answered(one["name"], platform, release or RELEASE)]
        lines = map(json.dumps, chosen)
        for answer in in_container("ask.py", f"--platform={platform}", lines=lines, release=release):
            asked += 1
            failed += any("failed" in one for one in answer["tensor_parallel"].values())
            path = GOLDEN / answer["release"] / f"{answer['name']}.json"
            kept = json.loads(path.read_text("utf-8"))["answers"] if path.exists() else []
            by_platform = {one["platform"]["name"]: one for one in [*kept, answer]}
            answers = [by_platform[one] for one in PLATFORMS if one in by_platform]
            for one in answers[1:]:
                one["modules"] = None
            path.parent.mkdir(exist_ok=True)
            path.write_text(document(answer["name"], answers), "utf-8")
            print(f"{platform} {answer['name']}", flush=True)
    print(f"{asked} asked, {failed} could not be asked")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names of questions, as default-qwen*")
    parser.add_argument("--platform", choices=PLATFORMS, action="append", help="default: all")
    parser.add_argument("--missing", action="store_true", help="only questions that have no answer yet")
    parser.add_argument("--vllm", metavar="RELEASE", help="a release other than the image's; on faked CUDA only")
    parser.add_argument("--defaults", action="store_true", help="write the default configs anew first")
    asked = parser.parse_args()
    if asked.defaults:
        write_defaults()
    platforms = asked.platform or [one for one in PLATFORMS if not asked.vllm or one != "cpu"]
    write_answers(asked.only, platforms, asked.vllm, asked.missing)


if __name__ == "__main__":
    main()
