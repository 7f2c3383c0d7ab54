import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.quality.bootstrap import paired_bootstrap, score_interval
from edgekit.quality.gleu import gleu_counts, gleu_score
from edgekit.quality.metrics import sentence_statistics

SOURCE = "He go to school every day with my dog ."
RIGHT = "He goes to school every day with my dog ."


def counts(source, hypothesis, reference):
    return gleu_counts(source.split(), hypothesis.split(), reference.split())


def test_an_error_that_is_kept_counts_against_the_output():
    # 10 words: 9 are right, "go" is the source's alone; of 9, 8 and 7 longer n-grams two each hold it.
    expected = [10, 10, 9 - 1, 10, 7 - 2, 9, 6 - 2, 8, 5 - 2, 7]
    assert counts(SOURCE, SOURCE, RIGHT) == expected
    assert gleu_score(expected) == pytest.approx((8 / 10 * 5 / 9 * 4 / 8 * 3 / 7) ** (1 / 4))


def test_an_error_that_the_source_did_not_have_only_fails_to_match():
    new = RIGHT.replace("goes", "went")
    assert counts(SOURCE, new, RIGHT) == [10, 10, 9, 10, 7, 9, 6, 8, 5, 7]


def test_the_correction_scores_1():
    assert gleu_score(counts(SOURCE, RIGHT, RIGHT)) == pytest.approx(1)


def test_words_that_source_and_reference_share_are_not_punished_however_often_the_source_has_them():
    # "the" twice in the source, once in the reference: the reference has it, so it is no error of its own (2016).
    assert counts("the the cat", "the the cat", "the cat")[2:6] == [2, 3, 1 - 1, 2]


def test_matches_are_clipped_and_never_below_0():
    assert counts("b", "a a a", "a c")[2:4] == [1, 3]
    assert counts("a b", "a b", "c d")[2:6] == [0, 2, 0, 1]


def test_what_is_too_short_is_penalised_as_in_bleu():
    # All of 5 words match a reference of 10.
    found = counts(SOURCE, "to school every day with", RIGHT)
    assert found == [5, 10, 5, 5, 4, 4, 3, 3, 2, 2]
    assert gleu_score(found) == pytest.approx(np.exp(1 - 10 / 5))


@pytest.mark.parametrize("hypothesis", ["", "cat", "no word in common at all"])
def test_nothing_in_common_is_0(hypothesis):
    assert gleu_score(counts(SOURCE, hypothesis, RIGHT)) == 0


def test_a_corpus_is_scored_from_summed_counts():
    # Punctuation is a word of its own.
    source, right = SOURCE.replace(" .", "."), RIGHT.replace(" .", ".")
    found = sentence_statistics("gleu", [source, right], [right, right], sources=[source, source])
    kept, corrected = np.array([10, 10, 8, 10, 5, 9, 4, 8, 3, 7]), np.array([10, 10, 10, 10, 9, 9, 8, 8, 7, 7])
    assert found.rows.tolist() == [kept.tolist(), corrected.tolist()]
    assert found.score() == pytest.approx(100 * gleu_score(kept + corrected))
    assert found.signature.startswith("gleu|order:4|nrefs:1|case:mixed|tok:13a|version:")


def test_several_references_are_scored_one_by_one_and_averaged():
    other = "He walks to school every day with my dog ."
    found = sentence_statistics("gleu", [RIGHT], [(RIGHT, other)], sources=[SOURCE])
    # Against the other one 9, 7, 6 and 5 n-grams match, and none is the source's alone.
    assert found.score() == pytest.approx(100 * (1 + (9 / 10 * 7 / 9 * 6 / 8 * 5 / 7) ** (1 / 4)) / 2)
    assert "nrefs:2" in found.signature


def test_a_sentence_with_fewer_references_uses_them_again():
    found = sentence_statistics("gleu", [RIGHT, RIGHT], [(RIGHT, SOURCE, RIGHT), (RIGHT,)], sources=[SOURCE, SOURCE])
    per_column = [
        gleu_score(np.array(counts(SOURCE, RIGHT, first)) + np.array(counts(SOURCE, RIGHT, RIGHT)))
        for first in (RIGHT, SOURCE, RIGHT)
    ]
    assert found.score() == pytest.approx(100 * np.mean(per_column))
    assert "nrefs:var" in found.signature


def test_the_bootstrap_takes_its_statistics():
    sources, right = [SOURCE] * 6, [RIGHT] * 6
    best = sentence_statistics("gleu", right, right, sources=sources)
    half = sentence_statistics("gleu", [SOURCE, RIGHT] * 3, right, sources=sources)
    low, high = score_interval(half, 200)
    assert low < half.score() < high <= 100
    loss = paired_bootstrap(best, half, 200)
    assert loss.points == pytest.approx(best.score() - half.score())
    assert loss.ci95[0] > 0


@pytest.mark.parametrize("sources", [None, ["one", "two"]])
def test_without_a_source_for_each_output_it_is_refused(sources):
    with pytest.raises(InputError, match=r"^gleu compares each output with its source: expected 1 sources, found "):
        sentence_statistics("gleu", ["a"], ["a"], sources=sources)
