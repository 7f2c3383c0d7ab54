"""Development sets: what the gate measures on is packaged, disjoint from what is reported, or a user's own."""

import pytest

from edgekit.errors import InputError
from edgekit.quality.development import load_development_pairs, load_development_text
from edgekit.quality.parallel_text import load_testset
from edgekit.quality.plain_text import load_text, text_names


def test_all_sets_of_a_pair_come_one_after_the_other_and_serve_both_directions():
    pairs = load_development_pairs(None, "en", "pt")
    assert (pairs.name, len(pairs)) == ("ntrex+valid", 1150)
    back = load_development_pairs(None, "pt", "en")
    assert (back.sources, back.references) == (pairs.references, pairs.sources)
    assert load_development_pairs("valid", "en", "pt").sources == pairs.sources[1000:]


def test_a_test_set_is_no_development_set():
    with pytest.raises(
        InputError, match=r'no development set "flores-dev" for en-de: expected a packaged set \(valid\)'
    ):
        load_development_pairs("flores-dev", "en", "de")
    with pytest.raises(
        InputError, match=r'no test set "valid" for en-de: expected a packaged set \(flores-dev, tatoeba\)'
    ):
        load_testset("valid", "en", "de")
    with pytest.raises(InputError, match=r"expected a packaged one \(wikitext2-development\)"):
        load_development_text("wikitext2")


def test_a_pair_without_a_packaged_set_needs_a_file():
    with pytest.raises(
        InputError, match=r"no development set is packaged for en-fr; give your own .* with --dev FILE.tsv"
    ):
        load_development_pairs(None, "en", "fr")


def test_a_users_file_is_read(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text("Hello.\tHallo.\n", encoding="utf-8")
    assert load_development_pairs(str(path), None, None).references == ("Hallo.",)
    path.write_text("Some text.\n", encoding="utf-8")
    assert load_development_text(str(path)).text == "Some text.\n"


def test_the_packaged_text_shares_no_article_with_the_test_texts():
    found = load_development_text(None)
    assert (found.name, found.words) == ("wikitext2-development", 50_888)
    assert found.license.startswith("CC BY-SA")
    assert found.name not in text_names()
    lines = {line.strip() for line in found.text.split("\n")}
    assert not {line.strip() for line in load_text("wikitext2").text.split("\n") if len(line) > 40} & lines
