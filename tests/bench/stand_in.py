"""The command line of the stand-in worker."""

import sys
from pathlib import Path

STAND_IN = Path(__file__).with_name("stand_in_worker.py")


def stand_in_command(bundle, threads):
    """A worker whose behaviour is the JSON file ``bundle``; -S because it needs no packages."""
    return [sys.executable, "-S", str(STAND_IN), str(bundle), str(threads)]
