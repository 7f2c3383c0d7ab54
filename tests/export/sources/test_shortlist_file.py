import struct

import numpy as np
import pytest

from edgekit.errors import SourceError
from edgekit.export.sources.shortlist_file import hash_words, read_shortlist
from tests.bergamot_fixture import pack_shortlist
from tests.damage import damaged_copies, refusals

OFFSETS = [0, 0, 2, 5]
TARGET_IDS = [3, 9, 0, 4, 7]


@pytest.fixture
def write(tmp_path):
    def write(data):
        path = tmp_path / "lex.bin"
        path.write_bytes(data)
        return path

    return write


def test_a_shortlist_is_read_as_it_was_written(write):
    shortlist = read_shortlist(write(pack_shortlist(OFFSETS, TARGET_IDS, first=2, best=3)), 3, 10)
    assert (shortlist.first, shortlist.best) == (2, 3)
    np.testing.assert_array_equal(shortlist.offsets, OFFSETS)
    np.testing.assert_array_equal(shortlist.target_ids, TARGET_IDS)
    assert shortlist.offsets.dtype == shortlist.target_ids.dtype == np.uint32


def test_a_shortlist_may_be_empty(write):
    shortlist = read_shortlist(write(pack_shortlist([0, 0], [])), 1, 50)
    assert shortlist.target_ids.shape == (0,)


def test_the_checksum_follows_its_recurrence_in_64_bits():
    # seed 0, word 1: 1 + 0x9e3779b9; then word 2 with shifts of that.
    first = 0x9E3779BA
    second = first ^ ((2 + 0x9E3779B9 + (first << 6) + (first >> 2)) % 2**64)
    assert hash_words(struct.pack("<Q", 1)) == first
    assert hash_words(struct.pack("<QQ", 1, 2)) == second
    assert hash_words(struct.pack("<QQI", 1, 2, 3)) == second
    # The carry out of 64 bits is dropped: 2**64 - 1 + 0x9e3779b9 wraps around.
    assert hash_words(struct.pack("<Q", 2**64 - 1)) == 0x9E3779B8


def test_the_checksum_goes_on_across_its_pieces():
    words = np.random.default_rng(0).integers(0, 2**64, 70_000, np.uint64)
    seed = np.uint64(0)
    with np.errstate(over="ignore"):
        for word in words:
            seed ^= word + np.uint64(0x9E3779B9) + (seed << np.uint64(6)) + (seed >> np.uint64(2))
    assert hash_words(words.tobytes()) == int(seed)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x1f\x8b" + b"\0" * 60, r"magic 0xf11a48d5013417f5\), found 0x8b1f; is it compressed or text\?"),
        (pack_shortlist([0, 0, 2], TARGET_IDS[:2]), r"for 3 source ids, found 2; the model and its shortlist"),
        (pack_shortlist([1, 2, 3, 5], TARGET_IDS), r"offsets that rise from 0 to 5"),
        (pack_shortlist([0, 1, 2, 4], TARGET_IDS), r"offsets that rise from 0 to 5"),
        (pack_shortlist([0, 4, 3, 5], TARGET_IDS), r"offsets that rise from 0 to 5"),
        (pack_shortlist([0, 2**63, 3, 5], TARGET_IDS), r"offsets that rise from 0 to 5"),
        (pack_shortlist(OFFSETS, [3, 9, 0, 4, 10]), r"target ids below 10, found others"),
        (pack_shortlist(OFFSETS, TARGET_IDS, first=11), r"target ids below 10, found others"),
        (pack_shortlist(OFFSETS, TARGET_IDS)[:-1], r"with 20 bytes of target ids at offset 80, found 19 bytes"),
        (pack_shortlist(OFFSETS, TARGET_IDS) + b"\0", r"found 1 bytes after them"),
        (pack_shortlist(OFFSETS, TARGET_IDS)[:40], r"with 48 bytes of header at offset 0, found 40 bytes"),
    ],
)
def test_a_shortlist_that_does_not_fit_is_refused(write, data, message):
    with pytest.raises(SourceError, match=message):
        read_shortlist(write(data), 3, 10)


def test_a_changed_word_fails_the_checksum(write):
    data = bytearray(pack_shortlist(OFFSETS, TARGET_IDS, first=2))
    data[80] ^= 1
    with pytest.raises(SourceError, match=r"the checksum is wrong, so the file is damaged; fetch it again"):
        read_shortlist(write(data), 3, 10)


@pytest.mark.parametrize("count", [2**61, 2**62, 2**64 - 1])
def test_counts_beyond_the_file_are_refused(write, count):
    data = bytearray(pack_shortlist(OFFSETS, TARGET_IDS))
    data[40:48] = struct.pack("<Q", count)
    with pytest.raises(SourceError, match=rf"{4 * count} bytes of target ids"):
        read_shortlist(write(data), 3, 10)


def test_damaged_files_give_one_line(tmp_path):
    rng = np.random.default_rng(0)
    data = pack_shortlist(np.arange(0, 404, 4), np.sort(rng.integers(0, 100, 400)))
    messages = refusals(lambda path: read_shortlist(path, 100, 100), tmp_path / "lex.bin", damaged_copies(data, 300))
    # The checksum covers all but itself and the last half word; some copies change nothing.
    assert len(messages) > 500
