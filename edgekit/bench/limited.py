"""Runs a command under limits of its own: ``python -m edgekit.bench.limited DATA_BYTES CORES COMMAND...``.

``DATA_BYTES`` is a limit on private writable memory (``RLIMIT_DATA``, setrlimit(2)), ``CORES`` how many of the usable
cores the command may run on; 0 for no such limit. The command replaces this process, so that its limits are there
before its interpreter starts, and its exit status is the command's. Linux only.
"""

from __future__ import annotations

import os
import resource
import sys

__all__ = ["main"]


def main(data_bytes: int, cores: int, command: list[str]) -> None:
    """Set the limits and become the command."""
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    if data_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
