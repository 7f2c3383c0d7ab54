"""The rule by which test and development sets are drawn, and that the latter hold nothing of the former."""

import itertools
import runpy
from pathlib import Path

import pytest

from edgekit.quality import parallel_text
from edgekit.quality.parallel_text import load_testset

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DEVELOPMENT = Path(parallel_text.__file__).parent / "devsets"
SCRIPT = runpy.run_path(str(BENCHMARKS / "testsets" / "sample.py"))
sample_pairs, write_pairs = SCRIPT["sample_pairs"], SCRIPT["write_pairs"]
DEVSETS = sorted(DEVELOPMENT.glob("*.gz"))


@pytest.mark.parametrize(("source", "target"), [("en", "de"), ("en", "pt")])
def test_development_sets_share_no_text_with_test_sets(source, target):
    tested = [load_testset(name, source, target) for name in parallel_text.testset_names(source, target)]
    developed = [load_testset(str(path), None, None) for path in DEVSETS if f".{source}-{target}." in path.name]
    assert tested
    assert developed
    for test, dev in itertools.product(tested, developed):
        assert not set(test.sources) & set(dev.sources)
        assert not set(test.references) & set(dev.references)
        assert len(dev) <= 1000


def test_every_development_set_is_attributed():
    attribution = (DEVELOPMENT / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert len(DEVSETS) == 4
    assert [path.name for path in DEVSETS if f"`{path.name}`" not in attribution] == []


def test_sample_drops_repeated_sides_and_keeps_order():
    pairs = [("a", "1"), ("a", "2"), ("b", "1"), ("c", "3"), ("d", "4"), ("e", "5")]
    assert sample_pairs(pairs, 10) == [("a", "1"), ("c", "3"), ("d", "4"), ("e", "5")]
    two = sample_pairs(pairs, 2, seed=1)
    assert len(two) == 2
    assert two == sorted(two)
    assert len({tuple(sample_pairs(pairs, 2, seed)) for seed in range(20)}) > 1


def test_sample_of_a_sample_is_itself():
    tatoeba = load_testset("tatoeba", "en", "de")
    pairs = list(zip(tatoeba.sources, tatoeba.references, strict=True))
    assert sample_pairs(pairs, 2000) == pairs
    fewer = sample_pairs(pairs, 500)
    assert len(fewer) == 500
    kept = set(fewer)
    assert fewer == [pair for pair in pairs if pair in kept] == sample_pairs(sample_pairs(pairs, 1000), 500)


def test_written_pairs_are_read_back_and_the_same_bytes_each_time(tmp_path):
    pairs = [("Hello.", "Hallo."), ("Good day.", "Guten Tag.")]
    write_pairs(tmp_path / "one.tsv.gz", pairs)
    write_pairs(tmp_path / "two.tsv.gz", pairs)
    assert (tmp_path / "one.tsv.gz").read_bytes() == (tmp_path / "two.tsv.gz").read_bytes()
    found = load_testset(str(tmp_path / "one.tsv.gz"), None, None)
    assert list(zip(found.sources, found.references, strict=True)) == pairs
