import itertools
import math

import numpy as np
import pytest

from edgekit.bench import text_quality
from edgekit.bench.text_models import load_models
from edgekit.bench.text_quality import score_text
from edgekit.errors import InputError
from edgekit.quality.perplexity import log_softmax, perplexity
from edgekit.quality.plain_text import EvaluationText


class Bigram:
    """A model whose logits depend on the last token only, so that windows make no difference; records what it reads."""

    def __init__(self, table, bos=None):
        self.table, self.bos_token_id, self.read = np.asarray(table, np.float32), bos, []

    def encode(self, text):
        return [ord(letter) - ord("a") for letter in text if letter.isalpha()]

    def logits(self, token_ids, first):
        self.read.append((len(token_ids), first))
        return self.table[list(token_ids)][first:]


def text(letters):
    return EvaluationText("letters", letters, "ab" * 32, "CC0 1.0")


@pytest.fixture
def tables():
    generator = np.random.default_rng(0)
    first = generator.normal(0, 2, (5, 5))
    return first, first + generator.normal(0, 0.3, (5, 5))


LETTERS = "".join("abcde"[(7 * index * index + index) % 5] for index in range(23))


@pytest.mark.parametrize("bos", [None, 4])
def test_losses_and_divergence_are_those_of_each_token_once(tables, bos):
    models = [Bigram(table, bos) for table in tables]
    first, second = score_text(models, text(LETTERS), context=8, stride=4, has_baseline=True)
    ids = models[0].encode(LETTERS)
    pairs = list(itertools.pairwise(ids if bos is None else [bos, *ids]))
    logs = [log_softmax(model.table) for model in models]
    for found, log in zip((first, second), logs, strict=True):
        assert found.losses.tokens.sum() == len(pairs)
        assert found.losses.nats.sum() == pytest.approx(-sum(log[before, after] for before, after in pairs))
    assert first.divergence is None
    kl = [float(np.sum(np.exp(logs[0][before]) * (logs[0][before] - logs[1][before]))) for before, _ in pairs]
    assert second.divergence.mean_kl == pytest.approx(np.mean(kl))
    assert second.divergence.max_kl == pytest.approx(max(kl))
    same = [logs[0][before].argmax() == logs[1][before].argmax() for before, _ in pairs]
    assert second.divergence.top1_agreement == pytest.approx(np.mean(same))


def test_rows_at_a_time_make_no_difference(tables, monkeypatch):
    whole = score_text([Bigram(table) for table in tables], text(LETTERS), 8, 4, True)
    monkeypatch.setattr(text_quality, "VALUES_AT_A_TIME", 7)  # one row of five
    parts = score_text([Bigram(table) for table in tables], text(LETTERS), 8, 4, True)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one.losses.nats, other.losses.nats)
    assert whole[1].divergence == parts[1].divergence


def test_windows_are_as_long_as_asked_for_and_no_logits_of_context_are(tables):
    model = Bigram(tables[0])
    score_text([model], text(LETTERS), context=8, stride=4, has_baseline=True)
    assert model.read == [(4, 0), (8, 3), (8, 3), (8, 3), (8, 3), (8, 4)]


def test_without_a_baseline_there_is_no_divergence(tables):
    found = score_text([Bigram(table) for table in tables], text(LETTERS), 8, 4, has_baseline=False)
    assert [quality.divergence for quality in found] == [None, None]


def test_progress_counts_every_word_once_a_model(tables):
    words = text("abc de abcd e ab cde a bcd eab " * 3)
    done = []
    score_text([Bigram(table) for table in tables], words, 8, 4, True, done.append)
    assert sum(done) == 2 * words.words


def test_models_with_other_ids_are_refused(tables):
    shifted = Bigram(tables[1])
    shifted.encode = lambda text: [0, 1, 2]
    with pytest.raises(InputError, match="letters: the models have different token ids for this text"):
        score_text([Bigram(tables[0]), shifted], text(LETTERS), 8, 4, True)
    with pytest.raises(InputError, match="different token ids"):
        score_text([Bigram(tables[0]), Bigram(tables[1], bos=4)], text(LETTERS), 8, 4, True)


def test_loaded_models_score_as_transformers_does(text_bundles, llama_case, prose):
    # transformers reads each window whole, without a cache, chunks or selected rows.
    ids, context, stride, total, count = None, 48, 16, 0.0, 0
    with load_models(text_bundles[:1], threads=1) as (model,):
        (found,) = score_text([model], prose, context, stride, has_baseline=True)
        ids = model.encode(prose.text)
    for begin in range(0, len(ids), stride):
        end = min(begin + stride, len(ids))
        start, first = max(0, end - context), max(begin, 1)
        log = log_softmax(llama_case.logits(ids[start:end]))
        total -= sum(log[position - start - 1, ids[position]] for position in range(first, end))
        count += end - first
    assert found.losses.tokens.sum() == count == len(ids) - 1
    assert perplexity(found.losses).perplexity == pytest.approx(math.exp(total / count), rel=1e-4)


def test_bos_begins_every_window_of_a_model_that_has_one(bos_bundle, llama_case, prose):
    with load_models([bos_bundle], threads=1) as (model,):
        assert model.bos_token_id == 1
        ids = model.encode(prose.text)
        (found,) = score_text([model], prose, 48, 16, has_baseline=True)
    assert found.losses.tokens.sum() == len(ids)
    log = log_softmax(llama_case.logits([1, *ids[:16]]))
    expected = -sum(log[position, token] for position, token in enumerate(ids[:16]))
    assert found.losses.nats[0] == pytest.approx(expected, rel=1e-4)
