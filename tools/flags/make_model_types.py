"""Write planner/data/model-types.json: the releases of vLLM that were read, and each model type's first with a class.

    python tools/flags/make_model_types.py FOLDER [-o planner/data/model-types.json]

FOLDER holds a folder a release, VERSION/vllm/model_executor/models/registry.py. Which classes a model type names stands
in the config.json files of tests/golden/oracle/configs. Types that the first release has are left out: nothing
older was read.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
SERVED_BY_OTHERS = {"clip", "siglip", "ministral3", "deepseek_ref", "minimax_m3"}
"""Types whose models start through another type's class too, and those of made config.json files."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "planner" / "data" / "model-types.json")
    args = parser.parse_args()
    found = {path.parents[3].name: path.read_text("utf-8")
             for path in args.folder.glob("*/vllm/model_executor/models/registry.py")}  # fmt: skip
    releases = sorted(found, key=Version)
    classes = {release: set(re.findall(r'^\s+"(\w+)":', found[release], re.M)) for release in releases}
    first: dict[str, str] = {}
    for path in sorted((ROOT / "tests" / "golden" / "oracle" / "configs").glob("*.json")):
        config = json.loads(path.read_text("utf-8"))
        named = (config.get("architectures") or [None])[0] if isinstance(config, dict) else None
        since = next((release for release in releases if named in classes[release]), None)
        if since is None or "model_type" not in config:
            continue
        model_type = config["model_type"].removesuffix("_text")
        if model_type not in SERVED_BY_OTHERS:
            first[model_type] = min(since, first.get(model_type, since), key=Version)
    later = {name: since for name, since in sorted(first.items()) if since != releases[0]}
    args.output.write_text(json.dumps({"releases": releases, "first": later}, indent=0) + "\n", "utf-8")


if __name__ == "__main__":
    main()
