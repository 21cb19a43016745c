"""Write planner/data/vllm-flags.json: every flag of `vllm serve`, by release, read from vLLM's own sources.

    python tools/flags/make_table.py FOLDER [--keep] [-o planner/data/vllm-flags.json]

FOLDER holds one entry a release: an sdist `vllm-VERSION.tar.gz` as the package index has it, or a folder VERSION with
the sources in it; 0.15.0 and 0.15.1 have no sdist, their sources are in the wheel. vLLM is neither built nor imported:
the files are read as syntax trees, which takes a second a release. With --keep, releases that stand in the table but
not in FOLDER keep what the table says of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

from packaging.version import Version

sys.path.insert(0, str(Path(__file__).resolve().parent))
from read_sources import flags_of, rules_of

TABLE = Path(__file__).resolve().parents[2] / "planner" / "data" / "vllm-flags.json"


def sources_of(entry: Path) -> dict[str, str]:
    """Text of the release's Python files, by their path under vllm/."""
    found: dict[str, str] = {}
    if entry.is_dir():
        root = entry / "vllm"
        for path in root.rglob("*.py"):
            found[path.relative_to(root).as_posix()] = path.read_text("utf-8")
        return found
    with tarfile.open(entry) as archive:
        for member in archive:
            inside = member.name.partition("/")[2]
            if member.isfile() and inside.startswith("vllm/") and inside.endswith(".py"):
                file = archive.extractfile(member)
                assert file is not None
                found[inside.removeprefix("vllm/")] = file.read().decode("utf-8")
    return found


def release_of(entry: Path) -> str:
    return entry.name.removeprefix("vllm-").removesuffix(".tar.gz")


def merged(releases: dict[str, dict[str, dict[str, Any]]], rules: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One entry a flag, with what changed between releases.

    `releases` holds what `flags_of` found, by release, and `rules` what `rules_of` found.
    """
    versions = sorted(releases, key=Version)
    flags: dict[str, Any] = {}
    for number, version in enumerate(versions):
        for name, read in releases[version].items():
            flag = flags.setdefault(name, {"since": version, "until": None, "kinds": []})
            if flag["until"] is not None:
                raise SystemExit(f"{name}: left in {flag['until']} and came back in {version}")
            if not flag["kinds"] or flag["kinds"][-1][1] != read["kind"]:
                flag["kinds"].append([version, read["kind"]])
            for key in ("choices", "also"):
                told = flag.setdefault(key, [])
                if (told[-1][1] if told else []) != read[key]:
                    told.append([version, read[key]])
            for key in ("human", "auto"):
                if read[key]:
                    flag.setdefault(key, version)
        for name, flag in flags.items():
            if name not in releases[version] and flag["until"] is None:
                flag["until"] = versions[number]
    ordered = {name: {key: value for key, value in flag.items() if value != []} for name, flag in sorted(flags.items())}
    changes: list[list[Any]] = []
    for version in versions:
        if not changes or changes[-1][1] != rules[version]:
            changes.append([version, rules[version]])
    return {"versions": versions, "rules": changes, "flags": ordered}


def at(told: list[list[Any]], version: str, default: Any) -> Any:
    """The value that holds in a release. `told`: (release, value) for each change."""
    reached = [value for since, value in told if Version(since) <= Version(version)]
    return reached[-1] if reached else default


def split(table: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """The reverse of `merged`."""

    def lasts(flag: dict[str, Any], version: str) -> bool:
        now = Version(version)
        return Version(flag["since"]) <= now and (flag["until"] is None or now < Version(flag["until"]))

    return {
        version: {
            name: {
                "kind": at(flag["kinds"], version, None),
                "choices": at(flag.get("choices", []), version, []),
                "also": at(flag.get("also", []), version, []),
                **{key: key in flag and Version(flag[key]) <= Version(version) for key in ("human", "auto")},
            }
            for name, flag in table["flags"].items()
            if lasts(flag, version)
        }
        for version in table["versions"]
    }


def written(table: dict[str, Any]) -> str:
    """The table as JSON with one line a flag, so that a change is seen as lines."""
    lines = [f"{json.dumps(name)}: {json.dumps(flag, separators=(',', ':'))}" for name, flag in table["flags"].items()]
    head = f'{{"versions": {json.dumps(table["versions"])},\n"rules": {json.dumps(table["rules"])},\n'
    return head + '"flags": {\n' + ",\n".join(lines) + "\n}}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", action="store_true", help="Keep the table's other releases.")
    parser.add_argument("-o", "--output", type=Path, default=TABLE)
    asked = parser.parse_args()
    releases: dict[str, dict[str, dict[str, Any]]] = {}
    rules: dict[str, dict[str, Any]] = {}
    if asked.keep:
        table = json.loads(TABLE.read_text("utf-8"))
        releases, rules = split(table), {version: at(table["rules"], version, None) for version in table["versions"]}
    for entry in sorted(asked.folder.iterdir()):
        version, sources = release_of(entry), sources_of(entry)
        releases[version], rules[version] = flags_of(sources), rules_of(sources)
        print(version, len(releases[version]), "flags", file=sys.stderr)
    asked.output.write_text(written(merged(releases, rules)), "utf-8")


if __name__ == "__main__":
    main()
