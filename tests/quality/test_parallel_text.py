import gzip
from importlib import resources

import pytest

from edgekit.errors import InputError
from edgekit.quality import parallel_text, text_file
from edgekit.quality.parallel_text import load_testset


@pytest.mark.parametrize(
    ("name", "source", "target", "count", "sha256"),
    [
        ("flores-dev", "en", "de", 997, "0183e3c0"),
        ("flores-dev", "en", "pt", 997, "6d91b590"),
        ("tatoeba", "en", "de", 2000, "e4b7c0c6"),
        ("tatoeba", "en", "pt", 2000, "53870ecf"),
    ],
)
def test_packaged_set_serves_both_directions_with_distinct_sources(name, source, target, count, sha256):
    forward = load_testset(name, source, target)
    backward = load_testset(name, target, source)
    assert (forward.sources, forward.references) == (backward.references, backward.sources)
    assert forward.sha256 == backward.sha256
    assert forward.sha256.startswith(sha256)
    assert len(forward) == len(set(forward.sources)) == len(set(forward.references)) == count
    assert forward.license.startswith("CC BY")


def test_english_is_the_source_of_en_de():
    flores = load_testset("flores-dev", "en", "de")
    assert flores.sources[0].startswith("On Monday, scientists from the Stanford University")
    assert flores.references[0].startswith("Am Montag haben die Wisenschaftler der Stanford University")


def test_names_of_packaged_sets_by_pair():
    assert (
        parallel_text.testset_names("en", "de") == parallel_text.testset_names("de", "en") == ["flores-dev", "tatoeba"]
    )
    assert parallel_text.testset_names("en", "fr") == []


def test_every_packaged_file_is_attributed_and_licensed():
    directory = resources.files("edgekit.quality").joinpath("testsets")
    attribution = directory.joinpath("ATTRIBUTION.md").read_text(encoding="utf-8")
    names = [entry.name for entry in directory.iterdir() if entry.name.endswith(".tsv.gz")]
    assert names
    for name in names:
        assert f"`{name}`" in attribution
        assert name.removesuffix(".tsv.gz") in parallel_text.LICENSES


@pytest.mark.parametrize("compress", [False, True])
def test_users_file_is_read(tmp_path, compress):
    data = "﻿Hello.\tHallo.\r\nGood\u2028day.\tGuten\fTag.\r\n".encode()
    path = tmp_path / ("mine.tsv.gz" if compress else "mine.tsv")
    path.write_bytes(gzip.compress(data) if compress else data)
    found = load_testset(str(path), None, None)
    assert found.name == "mine"
    assert found.sources == ("Hello.", "Good\u2028day.")
    assert found.references == ("Hallo.", "Guten\fTag.")
    assert found.license == "the user's own"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"a\tb\nonly one\nc\td\n\n\te\nx\ty\tz\n",
            r"two non-empty columns a line; not so in lines 2, 4, 5, 6; correct",
        ),
        (b"a\tb\nonly one\n", r"not so in line 2; correct"),
        (b"x\n" * 8, r"not so in lines 1, 2, 3, 4, 5 and 3 more; correct"),
        (b"", r"expected source<TAB>reference lines, found an empty file; give at least one pair"),
        (b"\n\t\n \n", r"found an empty file"),
        ("a\tb\nc\tgrün\n".encode("latin-1"), r"expected UTF-8, found another encoding in line 2; convert the file"),
    ],
)
def test_bad_file_is_refused_in_one_line(tmp_path, data, message):
    path = tmp_path / "bad.tsv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as raised:
        load_testset(str(path), "en", "de")
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-12], lambda data: b"no gzip", lambda data: data[:12] + b"\xff" * 30]
)
def test_damaged_gzip_is_refused(tmp_path, damage):
    path = tmp_path / "bad.tsv.gz"
    path.write_bytes(damage(gzip.compress(b"a\tb\n" * 100)))
    with pytest.raises(InputError, match=r"bad\.tsv\.gz: cannot be read as a test set"):
        load_testset(str(path), "en", "de")


def test_oversized_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_file, "MAX_TEXT_BYTES", 2**20)
    path = tmp_path / "bomb.tsv.gz"
    path.write_bytes(gzip.compress(b"a\tb\n" * 2**19))
    with pytest.raises(InputError, match=r"expected at most 1 MiB of text, found more; use less of it"):
        load_testset(str(path), "en", "de")


def test_unknown_name_is_refused_with_the_names_there_are(tmp_path):
    with pytest.raises(
        InputError, match=r'no test set "flores" for en-de: expected a packaged set \(flores-dev, tatoeba\)'
    ):
        load_testset("flores", "en", "de")
    with pytest.raises(InputError, match=r"no test set .* for en-\?: expected a packaged set \(none\) or the path"):
        load_testset(str(tmp_path), "en", None)


def test_limit_takes_the_first_pairs():
    flores = load_testset("flores-dev", "en", "de")
    assert flores.first(3).sources == flores.sources[:3]
    assert flores.first(3).references == flores.references[:3]
    assert flores.first(None) == flores.first(5000) == flores
    with pytest.raises(InputError, match=r"limit must be at least 1, found 0; leave it out to use every pair"):
        flores.first(0)
