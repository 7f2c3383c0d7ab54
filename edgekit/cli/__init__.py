"""The `edgekit` command. This module imports without click, so that a bare install can say what is missing."""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say in one line which extra brings it and exit with status 1."""
    missing = [package for package in ("click", "rich") if importlib.util.find_spec(package) is None]
    if missing:
        print(
            f'edgekit: the command line needs {" and ".join(missing)}; pip install "edgekit[cli]" brings it',
            file=sys.stderr,
        )
        raise SystemExit(1)
    try:
        from edgekit.cli.main import run
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run()
