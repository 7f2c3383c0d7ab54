"""A loaded graph's weights in huge pages, where Linux has them and leaves the choice to each program.

A decoder step reads every weight once, and with pages of 4 kB the processor looks up more addresses than it can
remember. With huge ones SmolLM2-135M wrote 1.23 (int8) and 1.10 (int4) times as many tokens a second; a model of 10 MB,
which caches hold, translated about as fast as without (benchmarks/huge_pages).

In: what /proc/self/maps (proc_pid_maps(5)) says before and after a graph is loaded. Out: advice to the kernel about the
memory that came in between (madvise(2)), and about little else of the program's; where advice is refused nothing has
happened.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# Of <linux/mman.h>: pages may be huge; those that are there become so at once (Linux 6.1).
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")
MAPS = Path("/proc/self/maps")

# A region that at least one part in so many is new of is taken as a whole: what is loaded fills its free places, too.
NEW_SHARE = 4
THREAD_NAME = "edgekit-huge-pages"

Region = tuple[int, int]


@contextmanager
def in_huge_pages() -> Iterator[None]:
    """Puts the memory that the block adds to this process into huge pages; it had better give back what it freed."""
    page = huge_page_size()
    before = None if page is None else anonymous_regions()
    yield
    if page is None or before is None or (after := anonymous_regions()) is None:
        return
    regions = list(whole_pages(added(before, after), page))
    # Copying a large model takes half a second: it may be used meanwhile. Who may start no thread goes without.
    with suppress(RuntimeError):
        threading.Thread(target=advise, args=(regions,), name=THREAD_NAME, daemon=True).start()


def advise(regions: Sequence[Region]) -> None:
    """Asks for huge pages from here on, and for those that are in use to be made huge now; refusals are no error.

    What is no longer there, or another's by now, is only advised: nothing is read or written.
    """
    madvise = ctypes.CDLL(None).madvise
    for start, end in regions:
        for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), ctypes.c_int(advice))


def huge_page_size() -> int | None:
    """Bytes of a huge page; None where there are none, or whoever runs this machine forbids them."""
    if sys.platform != "linux":
        return None
    try:
        if "[never]" in (SETTINGS / "enabled").read_text(encoding="ascii"):
            return None
        return int((SETTINGS / "hpage_pmd_size").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def anonymous_regions() -> list[Region] | None:
    """Where this process's own writable memory lies, ascending: first address and the one behind the last.

    Stacks, and memory that a file backs or that is shared, are left out. None where the system does not say.
    """
    try:
        lines = MAPS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    regions = []
    for addresses, permissions, _, _, inode, *name in (line.split(maxsplit=5) for line in lines):
        if permissions == "rw-p" and inode == "0" and (not name or name[0] == "[heap]"):
            start, end = (int(address, 16) for address in addresses.split("-"))
            regions.append((start, end))
    return regions


def added(before: list[Region], after: list[Region]) -> Iterator[Region]:
    """What came in between: the new parts of each region of ``after``, or all of it, as `NEW_SHARE` says.

    Both lists are ascending, without overlaps.
    """
    for start, end in after:
        parts = list(_uncovered(start, end, before))
        is_mostly_new = sum(last - first for first, last in parts) * NEW_SHARE >= end - start
        yield from [(start, end)] if is_mostly_new else parts


def _uncovered(start: int, end: int, regions: list[Region]) -> Iterator[Region]:
    """The parts from ``start`` to ``end`` that are in no region."""
    for known_start, known_end in regions:
        if known_end <= start or known_start >= end:
            continue
        if known_start > start:
            yield start, known_start
        start = known_end
    if start < end:
        yield start, end


def whole_pages(regions: Iterator[Region], page: int) -> Iterator[Region]:
    """The part of each region that is made of whole pages, where it has any."""
    for start, end in regions:
        first, last = -(-start // page) * page, end // page * page
        if first < last:
            yield first, last
