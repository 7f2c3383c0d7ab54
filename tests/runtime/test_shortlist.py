"""The lexical shortlist: whose candidates are whose, and which files are refused."""

import dataclasses
import io
import zipfile

import numpy as np
import pytest

from edgekit.bundle.read import open_bundle
from edgekit.errors import BundleError
from edgekit.runtime.shortlist import Shortlist, load_shortlist

# Source ids 0 to 3 suggest nothing, 7 and 9, 9, and 2 and 8; the ids 0, 1 and 2 are always candidates.
OFFSETS = np.array([0, 0, 2, 3, 5])
TARGETS = np.array([7, 9, 9, 2, 8])
SIZES = {"first": 3, "source_vocab_size": 4, "target_vocab_size": 10}


@pytest.fixture
def shortlist():
    return Shortlist(OFFSETS, TARGETS, 3)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ([0], [0, 1, 2]),
        ([1, 0], [0, 1, 2, 7, 9]),
        ([1, 2, 1], [0, 1, 2, 7, 9]),
        ([3, 2, 0], [0, 1, 2, 8, 9]),
    ],
)
def test_candidates_are_the_frequent_ids_and_what_each_source_id_suggests(shortlist, source, expected):
    assert shortlist.candidates(source).tolist() == expected


def test_one_sentence_may_use_all_of_its_candidates(shortlist):
    ids, bias = shortlist.for_batch([[1, 0]])
    assert ids.dtype == np.int64
    assert bias.dtype == np.float32
    assert ids.tolist() == [0, 1, 2, 7, 9]
    assert bias.tolist() == [[0, 0, 0, 0, 0]]


def test_in_a_batch_each_sentence_may_use_only_its_own(shortlist):
    ids, bias = shortlist.for_batch([[1, 0], [3, 0], [0]])
    assert ids.tolist() == [0, 1, 2, 7, 8, 9]
    never = float(np.float32(-1e9))
    assert bias.tolist() == [
        [0, 0, 0, 0, never, 0],
        [0, 0, 0, never, 0, never],
        [0, 0, 0, never, never, never],
    ]


def save(path, **arrays):
    np.savez(path, **({"offsets": OFFSETS.astype(np.uint32), "target_ids": TARGETS.astype(np.uint16)} | arrays))
    return path


def test_a_saved_shortlist_is_loaded(tmp_path):
    loaded = Shortlist.load(save(tmp_path / "shortlist.npz"), **SIZES)
    assert loaded.candidates([3, 1]).tolist() == [0, 1, 2, 7, 8, 9]


def test_a_shortlist_that_suggests_nothing_is_loaded(tmp_path):
    path = save(tmp_path / "s.npz", offsets=np.zeros(5, np.uint32), target_ids=np.array([], np.uint16))
    assert Shortlist.load(path, **SIZES).candidates([1]).tolist() == [0, 1, 2]


MISFITS = {
    "too few offsets": {"offsets": np.array([0, 2, 5], np.uint32)},
    "too many offsets": {"offsets": np.array([0, 0, 2, 3, 5, 5], np.uint32)},
    "offsets of two dimensions": {"offsets": OFFSETS[None].astype(np.uint32)},
    "offsets that fall": {"offsets": np.array([0, 3, 2, 3, 5], np.uint32)},
    "offsets that begin late": {"offsets": np.array([1, 1, 2, 3, 5], np.uint32)},
    "offsets beyond the end": {"offsets": np.array([0, 0, 2, 3, 6], np.uint32)},
    "offsets before the end": {"offsets": np.array([0, 0, 2, 3, 4], np.uint32)},
    "offsets below zero": {"offsets": np.array([0, -2, 2, 3, 5])},
    "offsets of floats": {"offsets": OFFSETS.astype(np.float32)},
    "offsets of truth values": {"offsets": OFFSETS.astype(bool)},
    "offsets of complex numbers": {"offsets": OFFSETS.astype(complex)},
    "offsets of text": {"offsets": OFFSETS.astype(str)},
    "an offset alone": {"offsets": np.array(5, np.uint32)},
    "ids outside the vocabulary": {"target_ids": np.array([7, 9, 10, 2, 8], np.uint16)},
    "ids below zero": {"target_ids": np.array([7, 9, -1, 2, 8])},
    "ids of floats": {"target_ids": np.array([7, 9, np.nan, 2, 8])},
    "ids of two dimensions": {"target_ids": TARGETS[None]},
    "ids of dates": {"target_ids": TARGETS.astype("datetime64[s]")},
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_shortlist_that_does_not_fit_is_refused(what, tmp_path):
    path = save(tmp_path / "shortlist.npz", **MISFITS[what])
    with pytest.raises(
        BundleError, match=r"shortlist\.npz: the shortlist does not fit the model's vocabularies; export"
    ):
        Shortlist.load(path, **SIZES)


@pytest.mark.parametrize("first", [0, -1, 11])
def test_a_number_of_frequent_ids_that_does_not_fit_is_refused(first, tmp_path):
    with pytest.raises(BundleError, match="the shortlist does not fit the model's vocabularies"):
        Shortlist.load(save(tmp_path / "shortlist.npz"), **SIZES | {"first": first})


def damaged_files():
    whole = io.BytesIO()
    save(whole)
    data = whole.getvalue()
    pickled = io.BytesIO()
    np.savez(pickled, offsets=np.array([{}], object), target_ids=TARGETS)
    names = io.BytesIO()
    np.savez(names, offsets=OFFSETS)
    header = io.BytesIO()
    with zipfile.ZipFile(header, "w") as archive:
        # An array of 2^60 elements in 200 bytes.
        text = b"{'descr': '<u4', 'fortran_order': False, 'shape': (1152921504606846976,), }"
        start = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117) + b"\n"
        archive.writestr("offsets.npy", start)
        archive.writestr("target_ids.npy", start)
    return {
        "empty": b"",
        "text": b"not a zip file",
        "truncated": data[:-60],
        "a changed byte": data.replace(b"fortran_order", b"fortran_0rder"),
        "pickles": pickled.getvalue(),
        "an array missing": names.getvalue(),
        "a header that promises too much": header.getvalue(),
        "an array instead of an archive": data[data.index(b"\x93NUMPY") :],
    }


@pytest.mark.parametrize("what", damaged_files())
def test_a_damaged_file_is_refused(what, tmp_path):
    path = tmp_path / "shortlist.npz"
    path.write_bytes(damaged_files()[what])
    with pytest.raises(
        BundleError, match=r"shortlist\.npz: not a readable shortlist \(.*\); export the model again"
    ) as e:
        Shortlist.load(path, **SIZES)
    assert "\n" not in str(e.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"shortlist\.npz: not a readable shortlist"):
        Shortlist.load(tmp_path / "shortlist.npz", **SIZES)


def test_a_bundle_without_a_shortlist_has_none(student_bundle, marian_bundle):
    assert load_shortlist(marian_bundle.joinpath, open_bundle(marian_bundle).manifest) is None
    manifest = open_bundle(student_bundle).manifest
    found = load_shortlist(student_bundle.joinpath, manifest)
    # Each source id is a candidate for itself.
    assert {77, 149} <= set(found.candidates([77, 149, 0]).tolist())
    other = dataclasses.replace(manifest, shortlist=dataclasses.replace(manifest.shortlist, file="other.npz"))
    with pytest.raises(BundleError, match=r"other\.npz: not a readable shortlist"):
        load_shortlist(student_bundle.joinpath, other)
