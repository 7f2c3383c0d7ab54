"""Which memory is put into huge pages, and that what is in it stays what it is."""

import mmap
import sys
import threading

import numpy as np
import pytest

from edgekit.runtime import huge_pages

PAGE = 0x200000
MAPS = """\
55d0c0000000-55d0c0001000 r--p 00000000 fe:00 1234 /usr/bin/python3
55d0c1000000-55d0c2400000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
7f0000400000-7f0000500000 ---p 00000000 00:00 0
7f0000600000-7f0000700000 rw-s 00000000 00:01 77 /dev/zero (deleted)
7f0000800000-7f0000900000 rw-p 00000000 fe:00 99 /a/library.so
7f0000900000-7f0000980000 rw-p 00000000 00:00 0
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]
"""
HEAP, NEW, SMALL = (0x55D0C1000000, 0x55D0C2400000), (0x7F0000000000, 0x7F0000400000), (0x7F0000900000, 0x7F0000980000)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """What the system says of huge pages."""
    monkeypatch.setattr(huge_pages, "SETTINGS", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    (tmp_path / "hpage_pmd_size").write_text(f"{PAGE}\n")
    return tmp_path


def test_the_systems_huge_pages_are_used_unless_it_forbids_them(settings):
    assert huge_pages.huge_page_size() == PAGE
    (settings / "enabled").write_text("[always] madvise never\n")
    assert huge_pages.huge_page_size() == PAGE
    (settings / "enabled").write_text("always madvise [never]\n")
    assert huge_pages.huge_page_size() is None


@pytest.mark.parametrize("problem", ["another system", "no such setting", "no number"])
def test_where_the_system_says_nothing_there_are_none(problem, settings, monkeypatch):
    if problem == "another system":
        monkeypatch.setattr(sys, "platform", "darwin")
    elif problem == "no such setting":
        (settings / "enabled").unlink()
    else:
        (settings / "hpage_pmd_size").write_text("")
    assert huge_pages.huge_page_size() is None


def test_only_memory_of_this_processs_own_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(huge_pages, "MAPS", tmp_path / "maps")
    assert huge_pages.anonymous_regions() is None
    (tmp_path / "maps").write_text(MAPS)
    assert huge_pages.anonymous_regions() == [HEAP, NEW, SMALL]


def test_what_was_there_before_is_left_alone_but_for_the_rest_of_regions_that_are_a_quarter_new():
    before = [(100, 200), (300, 400), (600, 700)]
    assert list(huge_pages.added(before, [(100, 200), (290, 401), (600, 700), (800, 900)])) == [
        *((290, 300), (400, 401)),  # 11 of 111: too little for the whole
        (800, 900),
    ]
    # Two regions and what lay between them are one: 100 of 300 are new.
    assert list(huge_pages.added(before, [(100, 400)])) == [(100, 400)]
    assert list(huge_pages.added(before, [(300, 433)])) == [(400, 433)]
    assert list(huge_pages.added(before, [(300, 434)])) == [(300, 434)]
    assert list(huge_pages.added(before, [(120, 180)])) == []
    assert list(huge_pages.added([], before)) == before


def test_only_whole_pages_are_asked_for():
    regions = iter([(PAGE - 1, 3 * PAGE + 1), (4 * PAGE, 5 * PAGE), (6 * PAGE + 1, 8 * PAGE - 1), (9 * PAGE, 9 * PAGE)])
    assert list(huge_pages.whole_pages(regions, PAGE)) == [(PAGE, 3 * PAGE), (4 * PAGE, 5 * PAGE)]


def test_new_memory_is_advised_and_keeps_what_is_in_it(settings, monkeypatch):
    asked = []
    advise = huge_pages.advise
    monkeypatch.setattr(huge_pages, "advise", lambda regions: (asked.extend(regions), advise(regions)))
    old = mmap.mmap(-1, 64 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with huge_pages.in_huge_pages():
        new = mmap.mmap(-1, 8 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        values = np.frombuffer(new, np.uint32)
        values[:] = np.arange(len(values))
    for thread in threading.enumerate():
        if thread.name == huge_pages.THREAD_NAME:
            thread.join()

    def is_asked(memory):
        address = np.frombuffer(memory, np.uint8).ctypes.data
        return any(start < address + len(memory) and address < end for start, end in asked)

    assert is_asked(new)
    assert not is_asked(old)
    assert np.array_equal(values, np.arange(len(values)))


def test_where_they_are_forbidden_nothing_is_asked(settings, monkeypatch):
    (settings / "enabled").write_text("always madvise [never]\n")
    monkeypatch.setattr(huge_pages, "advise", lambda regions: pytest.fail(f"asked for {regions}"))
    with huge_pages.in_huge_pages():
        memory = mmap.mmap(-1, 8 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    assert len(memory) == 8 * PAGE
