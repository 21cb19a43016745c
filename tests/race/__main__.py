"""`python -m tests.race`: all searchers on all landscapes; the page in the terminal, or docs/search.md with --write."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tests.race import page
from tests.race.landscapes import FOLDER, LAUNCHES_FILE, load
from tests.race.package_runs import read_results
from tests.race.runs import run_all
from tests.race.searchers import EMULATED, SEARCHERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page and its plots instead of printing")
    parser.add_argument("--landscapes", type=Path, default=FOLDER, help="folder of landscapes")
    parser.add_argument("--only", default="", help="only landscapes with this in their name")
    parser.add_argument("--searchers", nargs="+", default=list(SEARCHERS), choices=SEARCHERS)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--launches", type=int, default=20)
    parser.add_argument(
        "--packages", action="store_true", help="only the section on the packages, in the page there is"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    folders = [path.parent for path in sorted(args.landscapes.glob(f"*/{LAUNCHES_FILE}")) if args.only in str(path)]
    if not folders:
        parser.error(f"no landscape under {args.landscapes}")
    landscapes = {folder: load(folder) for folder in folders}
    results = read_results()
    if args.packages:
        raced = {one.landscape for one in results.runs}
        landscapes = {folder: one for folder, one in landscapes.items() if one.name in raced}
        args.searchers = [name for name in EMULATED if name in {one.package for one in results.runs}]
    runs = run_all(list(landscapes), args.searchers, range(args.seeds), args.launches, args.processes)
    if args.packages:
        section = page.packages_section(landscapes, runs, results, args.launches)
        text = page.with_packages(args.write.read_text("utf-8"), section) if args.write else section
    else:
        text = page.markdown(landscapes, runs, args.launches, results)
        if args.write:
            page.write_plots(args.write.parent / page.PLOTS, landscapes, runs, args.launches)
    if args.write:
        args.write.write_text(text, "utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
