"""How much memory a loaded model takes.

In: what a model counts of itself, and what the operating system says of this process. Out: `Memory`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from edgekit.bundle.manifest import Manifest


class Memory(NamedTuple):
    """Bytes that a loaded model takes.

    Attributes:
        weights: Of the weights on the disk. They are mapped, so that processes share one copy, and pages which
            onnxruntime has turned into a form of its own are let go.
        sessions: What loading the graphs took of this process's own memory: weights in the form that products want, and
            onnxruntime's buffers. None where the system does not say (it is Linux's); too much if other threads
            allocated at that moment. Calls at work take more, and give it back.
        state: What is kept between calls: a text generator's remembered prompts; 0 for a translator.
    """

    weights: int
    sessions: int | None
    state: int


class LoadedSessions:
    """What loading each session took."""

    def __init__(self) -> None:
        """Starts at nothing."""
        self._sizes: dict[str, int | None] = {}

    @property
    def size_bytes(self) -> int | None:
        """Of all sessions that are held; None where the system does not say."""
        sizes = [size for size in self._sizes.values() if size is not None]
        return sum(sizes) if len(sizes) == len(self._sizes) else None

    @contextmanager
    def measure(self, graph: str) -> Iterator[None]:
        """Takes what the block takes for the session of this graph."""
        before = private_bytes()
        yield
        after = private_bytes()
        self._sizes[graph] = None if before is None or after is None else max(0, after - before)

    def forget(self, graph: str) -> None:
        """Counts a graph no more."""
        self._sizes.pop(graph, None)


def weights_bytes(manifest: Manifest) -> int:
    """The size of a bundle's weights on the disk."""
    return sum(record.size_bytes for name, record in manifest.files.items() if name.endswith(".safetensors"))


def private_bytes() -> int | None:
    """This process's memory that no file backs, in bytes (proc_pid_statm(5)); None where the system does not say."""
    try:
        resident, shared = Path("/proc/self/statm").read_text(encoding="ascii").split()[1:3]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def give_back_freed() -> None:
    """Returns memory that was freed to the system, where the C library is glibc (malloc_trim(3)); else does nothing.

    Loading frees about what it keeps: transposed and unpacked weights, a parsed vocabulary.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
