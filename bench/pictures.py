"""Pictures and tables of the kept results, for docs/performance.md.

    python bench/pictures.py [--results DIR] [--docs DIR]

Reads compare, limits, ppo, growth, reach and plan.json from bench/results, each where it is there. Writes
the pictures that it has figures for into docs/performance/, and the tables between the markers
`<!-- tables -->` and `<!-- /tables -->` of docs/performance.md; the rest of that text stays as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pictures_bars
import pictures_lines
from pictures_data import FILES, read
from pictures_tables import tables

HERE = Path(__file__).parent
BEGIN, END = "<!-- tables -->", "<!-- /tables -->"


def drawn(results: Mapping[str, Any]) -> dict[str, str]:
    """The pictures that there are figures for, by file name."""
    found = {}
    if results.get("compare"):
        found["splits.svg"] = pictures_bars.splits(results["compare"])
        found["memory.svg"] = pictures_bars.memory(results["compare"], results.get("ppo", {}))
    if results.get("ppo", {}).get("results"):
        found["ppo.svg"] = pictures_bars.ppo(results["ppo"])
    if any(results.get("growth", {}).get("curves", {}).values()):
        found["growth.svg"] = pictures_lines.growth(results["growth"])
    if results.get("reach"):
        found["reach.svg"] = pictures_lines.reach(results["reach"])
    return found


def between_markers(text: str, new: str) -> str:
    """The text with what stands between the markers replaced.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if text.count(BEGIN) != 1 or text.count(END) != 1 or not pattern.search(text):
        raise ValueError(f"one {BEGIN} and one {END} after it are needed")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{new}\n\n{END}", text)


def write(results: Mapping[str, Any], docs: Path) -> list[Path]:
    """Write the pictures and the tables; the files that were written."""
    page = docs / "performance.md"
    text = between_markers(page.read_text("utf-8"), tables(results))
    folder = docs / "performance"
    folder.mkdir(parents=True, exist_ok=True)
    written = [page]
    page.write_text(text, "utf-8")
    for name, svg in drawn(results).items():
        written.append(folder / name)
        written[-1].write_text(svg, "utf-8")
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="a folder of JSON files")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs", help="has performance.md")
    options = parser.parse_args(arguments)
    results = read(options.results)
    if not results:
        sys.exit(f"no results in {options.results}: run bench/compare.py or another of the scripts first")
    missing = [f"{name}.json" for name in FILES if name not in results]
    if missing:
        print(f"not measured, so left out: {', '.join(missing)}")
    try:
        print(*write(results, options.docs), sep="\n")
    except (OSError, ValueError) as error:
        sys.exit(f"{options.docs / 'performance.md'}: {error}")


if __name__ == "__main__":
    main()
