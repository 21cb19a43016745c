"""`python -m tests.race`: searchers in all made worlds and on all recorded landscapes, and the page about them.

Finished runs are kept in a file, a line each. A race that was interrupted goes on from there; --page makes
docs/search.md of what the file holds, without a run.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from tests.race import page
from tests.race.landscapes import FOLDER, LAUNCHES_FILE, Landscape, load
from tests.race.package_runs import read_results
from tests.race.searchers import EMULATED, SEARCHERS
from tests.race.stored import Stored, by_landscape, by_world, finish, jobs, place_of, read
from tests.race.worlds import WORLDS

ROOT = Path(__file__).parents[2]
PAGE, RUNS = ROOT / "docs" / "search.md", ROOT / "build" / "race-runs.jsonl"
WORLD_LAUNCHES = 30


def _arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    parser.add_argument("--worlds", action="store_true", help="only the made worlds")
    parser.add_argument(
        "--write-runs", type=Path, default=RUNS, metavar="FILE", help="runs, kept and added (%(default)s)"
    )
    parser.add_argument("--page", action="store_true", help="run nothing: write docs/search.md from the file of runs")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page and its plots instead of printing")
    parser.add_argument("--landscapes", type=Path, default=FOLDER, help="folder of landscapes")
    parser.add_argument("--only", default="", help="only worlds and landscapes with this in their name")
    parser.add_argument("--searchers", nargs="+", default=list(SEARCHERS), choices=SEARCHERS)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--launches", type=int, default=20, help="launches on landscapes; 30 in worlds")
    parser.add_argument(
        "--packages", action="store_true", help="only the section on the packages, in the page there is"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    args = _arguments(parser)
    if "gp" in args.searchers and importlib.util.find_spec("torch") is None:
        print("Optuna GP is left out: its extra is not installed", file=sys.stderr)
        args.searchers.remove("gp")
    results = read_results()
    folders = [path.parent for path in sorted(args.landscapes.glob(f"*/{LAUNCHES_FILE}")) if args.only in str(path)]
    landscapes = {} if args.worlds else {place_of(folder): load(folder) for folder in folders}
    if args.packages:
        raced = {one.landscape for one in results.runs}
        landscapes = {place: one for place, one in landscapes.items() if one.name in raced}
        args.searchers = [name for name in EMULATED if name in {one.package for one in results.runs}]
    worlds = [] if args.packages else [name for name in WORLDS if args.only in name]
    places = [*((name, WORLD_LAUNCHES) for name in worlds), *((place, args.launches) for place in landscapes)]
    if not places:
        parser.error(f"no world and no landscape of {args.landscapes} has {args.only!r} in its name")
    if not args.page:
        finish(args.write_runs, list(jobs(places, args.searchers, range(args.seeds))), args.processes, _show)
    target = args.write or (PAGE if args.page else None)
    runs = [one for one in read(args.write_runs) if one.job.place in dict(places)]
    text = _text(args, runs, landscapes, target)
    if target is None:
        print(text)
    else:
        target.write_text(text, "utf-8")


def _show(done: int, total: int) -> None:
    print(f"{done} of {total} runs", end="\n" if done == total else "\r", file=sys.stderr, flush=True)


def _text(args: argparse.Namespace, runs: list[Stored], landscapes: dict[str, Landscape], target: Path | None) -> str:
    """The page; of what no run is stored, as the page that is there has it."""
    results, found = read_results(), by_landscape(runs)
    raced = {place: landscapes[place] for place in landscapes if any(where == place for where, _ in found)}
    before = (target if target is not None and target.exists() else PAGE).read_text("utf-8")
    if args.packages:
        section = page.packages_section(raced, found, results, args.launches)
        return page.with_packages(before, section) if args.write else section
    worlds = by_world(runs)
    head = page.head(worlds) if worlds else page.parts(before)[0]
    if not raced:
        return page.joined(head, page.parts(before)[1])
    if target is not None:
        page.write_plots(target.parent / page.PLOTS, raced, found, args.launches)
    return page.joined(head, page.recorded(raced, found, args.launches, results))


if __name__ == "__main__":
    main()
