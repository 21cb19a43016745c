"""`python -m tests.oracle`: where planner's estimate differs from vLLM's own engine, name by name.

--shrink takes from tests/golden/oracle/known-differences.json what agrees now. --add also adds what differs: only for
golden files that are new. --page writes docs/models.md: each model type, and how its figures were proven.
"""

from __future__ import annotations

import argparse

from tests.oracle.compare import differences, golden_files, key_of, known_differences, write_known
from tests.oracle.page import PAGE, models_page


def main() -> None:
    """Compare all golden files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names with this in them")
    parser.add_argument("--shrink", action="store_true", help="take what agrees now from the list")
    parser.add_argument("--add", action="store_true", help="add what differs to the list")
    parser.add_argument("--page", action="store_true", help="write docs/models.md")
    asked = parser.parse_args()
    if asked.page:
        PAGE.write_text(models_page(), "utf-8")
        return
    known = known_differences()
    files = [path for path in golden_files() if asked.only in key_of(path)]
    differing = 0
    for path in files:
        found, listed = differences(path), known.pop(key_of(path), [])
        differing += bool(found)
        for aspect, words in found.items():
            print(f"{key_of(path)}: {aspect}: {words}{'' if aspect in listed else '  NOT LISTED'}")
        if kept := [aspect for aspect in found if asked.add or aspect in listed]:
            known[key_of(path)] = sorted(kept)
    print(f"{len(files)} asked, {differing} differ")
    if asked.shrink or asked.add:
        write_known(known)


if __name__ == "__main__":
    main()
