"""`python -m tests.accuracy`: the accuracy tables in the terminal, or docs/accuracy.md with --write."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.accuracy import page
from tests.accuracy.starts import load_starts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page instead of printing")
    parser.add_argument("--group", default="", help="only groups with this in their name, for example V1 or 0.20")
    parser.add_argument("--id", default="", help="only starts with this in their id")
    parser.add_argument("--verbose", action="store_true", help="every start: predicted and observed")
    parser.add_argument("--reasons", action="store_true", help="with --verbose: the verdict's reasons too")
    args = parser.parse_args()
    starts = [start for start in load_starts() if args.group in start.group and args.id in start.id]
    if args.write:
        args.write.write_text(page.markdown(starts), "utf-8")
        return
    if args.verbose or args.id:
        print("\n".join(page.listing(starts, args.reasons)))
        print()
    print(page.summary(starts))


if __name__ == "__main__":
    main()
