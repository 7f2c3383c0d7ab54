import math

import pytest
import sacrebleu

from edgekit.errors import InputError
from edgekit.quality.metrics import sentence_statistics
from edgekit.quality.parallel_text import load_testset
from edgekit.quality.scores import floor_scores, score_translations


def score(metric, hypotheses, references, target_language="de"):
    return sentence_statistics(metric, hypotheses, references, target_language).score()


def test_bleu_of_a_sentence_worked_by_hand():
    # 5 of 5 words, 3 of 4 bigrams, 2 of 3 trigrams, 1 of 2 four-grams; five words against six: penalty exp(1 - 6/5).
    expected = 100 * math.exp(-0.2) * (1 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert score("bleu", ["the cat sat on mat"], ["the cat sat on the mat"]) == pytest.approx(expected)


def test_chrf_of_a_word_worked_by_hand():
    # 2 of 3 characters, 1 of 2 pairs, 0 of 1 triple, and no longer ones: precision and recall are both their mean.
    assert score("chrf", ["abc"], ["abd"]) == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_perfect_and_empty_translations(metric):
    references = ["Der Hund schläft im Garten.", "Guten Morgen, wie geht es dir?"]
    assert score(metric, references, references) == pytest.approx(100)
    assert score(metric, ["", ""], references) == 0


def test_scores_and_signatures_equal_sacrebleus():
    testset = load_testset("tatoeba", "en", "de")
    hypotheses = [" ".join(text.split()[1:]) or text for text in testset.references]
    found = score_translations(testset, hypotheses, "de")
    bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
    references = [list(testset.references)]
    assert found.points["bleu"] == pytest.approx(bleu.corpus_score(hypotheses, references).score, abs=1e-9)
    assert found.points["chrf"] == pytest.approx(chrf.corpus_score(hypotheses, references).score, abs=1e-9)
    assert found.signatures == {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    assert found.losses == {}


def test_floor_is_the_score_of_the_sources():
    testset = load_testset("flores-dev", "en", "de")
    floor = floor_scores(testset, "de")
    expected = sacrebleu.corpus_chrf(list(testset.sources), [list(testset.references)]).score
    assert floor["chrf"] == pytest.approx(expected, abs=1e-9)
    assert 0 < floor["bleu"] < 10


@pytest.mark.parametrize(("language", "tokenizer"), [("de", "13a"), (None, "13a"), ("zh", "zh"), ("ja", "char")])
def test_bleu_tokenizer_follows_the_target_language(language, tokenizer):
    assert f"|tok:{tokenizer}|" in sentence_statistics("bleu", ["a"], ["a"], language).signature


def test_japanese_without_spaces_is_scored_by_character():
    # As one 13a token a sentence this would score 0.
    assert score("bleu", ["犬が庭で寝ています。"], ["犬が庭で寝ている。"], "ja") > 50


def test_statistics_need_as_many_references_as_hypotheses():
    with pytest.raises(InputError, match=r"found 2 hypotheses and 1 references"):
        sentence_statistics("chrf", ["a", "b"], ["a"])
    with pytest.raises(InputError, match=r"found 0 hypotheses and 0 references"):
        sentence_statistics("chrf", [], [])
    with pytest.raises(InputError, match=r'unknown metric "comet": expected one of chrf, bleu, rouge-l, exact, gleu'):
        sentence_statistics("comet", ["a"], ["a"])


def test_several_references_are_scored_as_sacrebleu_does():
    hypotheses, references = ["the cat sat", "a dog ran"], [("the cat sat", "x y"), ("one dog ran", "a dog walked")]
    streams = [["the cat sat", "one dog ran"], ["x y", "a dog walked"]]
    found = sentence_statistics("chrf", hypotheses, references)
    assert found.score() == pytest.approx(sacrebleu.corpus_chrf(hypotheses, streams).score)
    assert "nrefs:2" in found.signature


def test_items_may_have_different_numbers_of_references():
    found = sentence_statistics("bleu", ["a b c d", "e f g h"], [("a b c d",), ("x", "e f g h")])
    assert found.score() == pytest.approx(100)
    assert "nrefs:var" in found.signature
