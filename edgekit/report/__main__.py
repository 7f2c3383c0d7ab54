"""Renders a recorded comparison again, without measuring anything.

    python -m edgekit.report COMPARISON.json OUT.html|OUT.svg|OUT.md|OUT.csv ...

In: what ``edgekit bench --task ... --json FILE`` wrote. Out: the files, each in the form that its ending names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgekit.bench.comparison import from_json
from edgekit.errors import EdgekitError, InputError
from edgekit.report import to_csv, to_html, to_markdown, to_svg

FORMS = {".html": to_html, ".svg": to_svg, ".md": to_markdown, ".csv": to_csv}


def render(source: Path, targets: list[Path]) -> None:
    """Write the forms of a recorded comparison.

    Raises:
        InputError: The source can't be read or is no comparison, or a target has another ending.
    """
    if unknown := [target for target in targets if target.suffix not in FORMS]:
        raise InputError(f"{unknown[0]}: expected a file that ends in {', '.join(FORMS)}")
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: cannot be read: {error}; give what edgekit bench --task --json wrote") from None
    comparison = from_json(text, str(source))
    # All forms first: one that can't be made leaves none behind.
    for target, made in [(target, FORMS[target.suffix](comparison)) for target in targets]:
        target.write_text(made, encoding="utf-8", newline="\n")


def main() -> None:
    """Command line; see the module's description."""
    parser = argparse.ArgumentParser(prog="python -m edgekit.report", description=__doc__.splitlines()[0])
    parser.add_argument("comparison", type=Path)
    parser.add_argument("out", type=Path, nargs="+", help=f"ends in {', '.join(FORMS)}")
    arguments = parser.parse_args()
    try:
        render(arguments.comparison, arguments.out)
    except EdgekitError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
