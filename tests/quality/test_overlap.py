import pytest

from edgekit.quality.metrics import sentence_statistics
from edgekit.quality.overlap import exact_match, rouge_l


def test_rouge_l_worked_by_hand():
    # Lin 2004, section 3.1: of "police killed the gunman", "police kill the gunman" shares 3 of 4 words in order.
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(3 / 4)
    # "the gunman kill police" shares two in order: "the gunman".
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(2 / 4)
    # 2 words of 2 and of 5: precision 1, recall 2/5.
    assert rouge_l("a c", "a b c d e") == pytest.approx(2 * 2 / 7)


@pytest.mark.parametrize(("one", "other"), [("", "a"), ("a", ""), ("...", "..."), ("a", "b")])
def test_nothing_in_common_is_0(one, other):
    assert rouge_l(one, other) == 0


def test_case_and_marks_do_not_count_for_rouge_l():
    assert rouge_l("Grün, blau!", "grün blau") == 1


def test_exact_match_ignores_white_space_only():
    assert exact_match(" a  b\n", "a b") == 1
    assert exact_match("A b", "a b") == 0


def test_the_best_reference_counts_and_the_mean_is_reported():
    found = sentence_statistics("exact", ["yes", "no"], [("no", "yes"), ("yes", "maybe")])
    assert found.score() == 50
    assert found.signature == "exact|nrefs:2|mean"
    assert "nrefs:var" in sentence_statistics("rouge-l", ["a", "b"], [("a",), ("b", "c")]).signature
