"""Runs a worker under a memory limit, and searches for the smallest one under which it still does its work.

Two kinds of limit, the first that this machine allows:

- ``cgroup MemoryMax``: systemd starts the process in a group of its own with that much memory and no swap. All of its
  resident memory counts, as in a container.
- ``RLIMIT_DATA``: the kernel refuses private writable memory beyond the limit (not ``RLIMIT_AS``, which counts all
  addresses). It counts what is reserved and never touched, so that it is larger than what is ever resident, and it
  does not count libraries and other mapped files: a limit for `ulimit -d`, not a size of memory to buy.

In: a way to start the worker and let it work. Out: megabytes. Where neither works (macOS, Windows) there is no figure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache

__all__ = ["CGROUP", "RLIMIT", "limit_kind", "limited_command", "smallest_limit"]

CGROUP, RLIMIT = "cgroup MemoryMax", "RLIMIT_DATA"
# The search ends when the limits that suffice and that don't are this close, in part of the limit or in bytes.
CLOSE, CLOSE_BYTES = 0.03, 2_000_000
MOST_DOUBLINGS = 3


@cache
def limit_kind() -> str | None:
    """`CGROUP`, `RLIMIT`, or None where memory cannot be limited."""
    if not sys.platform.startswith("linux"):
        return None
    return CGROUP if shutil.which("systemd-run") and _systemd_limits() else RLIMIT


def limited_command(
    command: Sequence[str], memory_bytes: int | None = None, cores: int | None = None, kind: str | None = None
) -> list[str]:
    """The command line of a worker under limits.

    Args:
        command: The worker's own; begins with an absolute path.
        memory_bytes: Limit of the kind ``kind``; None for none.
        cores: Logical cores that it may run on; None for all.
        kind: From `limit_kind`.
    """
    data = memory_bytes if kind == RLIMIT else None
    launcher = [sys.executable, "-P", "-m", "edgekit.bench.limited", str(data or 0), str(cores or 0), *command]
    if memory_bytes is None or kind != CGROUP:
        return launcher
    return [*_systemd_run(memory_bytes), *launcher]


def smallest_limit(works: Callable[[int], bool], guess: int) -> int | None:
    """The smallest limit in bytes under which something works, to within `CLOSE`, by bisection.

    Args:
        works: Whether it works under a limit; what works under one works under larger ones.
        guess: A limit under which it probably works.

    Returns:
        A limit under which it was seen to work; None where it works under none up to eight times the guess.
    """
    most = guess
    for _ in range(MOST_DOUBLINGS + 1):
        if works(most):
            break
        most *= 2
    else:
        return None
    least = 0 if most == guess else most // 2
    while most - least > max(CLOSE * most, CLOSE_BYTES):
        middle = (least + most) // 2
        if works(middle):
            most = middle
        else:
            least = middle
    return most


def _systemd_run(memory_bytes: int) -> list[str]:
    user = ["--user"] if os.geteuid() else []
    limits = ["-p", f"MemoryMax={memory_bytes}", "-p", "MemorySwapMax=0"]
    return [shutil.which("systemd-run") or "systemd-run", *user, "--scope", "--quiet", *limits, "--"]


def _systemd_limits() -> bool:
    """Whether a process that takes more than its limit is really ended: a scope may start and limit nothing."""
    greedy = [sys.executable, "-c", "print(len(bytearray(300_000_000)))"]
    try:
        done = [
            subprocess.run([*_systemd_run(limit), *greedy], capture_output=True, timeout=20, check=False).returncode
            for limit in (600_000_000, 100_000_000)
        ]
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done[0] == 0 and done[1] != 0
