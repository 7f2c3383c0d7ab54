"""Logits and log-probabilities of texts are transformers', from any position on and in any chunks."""

import numpy as np
import pytest
import torch

from edgekit.errors import InputError
from edgekit.runtime import causal_search
from tests.runtime.causal_lm_bundles import CONTEXT
from tests.runtime.text_prompts import PROMPTS, VOCAB


def test_logits_are_transformers(generator, llama_case):
    ids = generator.encode("".join(PROMPTS))[:CONTEXT]
    found = generator.logits(ids)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, llama_case.logits(ids), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("first", [0, 1, 6, 7, 8, 100])
def test_logits_from_a_position_on_are_the_same(generator, first, monkeypatch):
    ids = np.random.default_rng(0).integers(3, VOCAB, 101)
    whole = generator.logits(ids)
    monkeypatch.setattr(causal_search, "CHUNK_TOKENS", 7)
    assert np.array_equal(generator.logits(ids, first), whole[first:])


def test_scores_are_log_probabilities(generator, llama_case):
    ids = generator.encode(PROMPTS[0])
    expected = torch.log_softmax(torch.tensor(llama_case.logits(ids)), dim=1)[range(len(ids) - 1), ids[1:]]
    score, other = generator.score(PROMPTS[:2])
    assert score.ids == tuple(ids)
    assert score.log_probabilities.dtype == np.float32
    np.testing.assert_allclose(score.log_probabilities, expected, rtol=1e-4)
    assert other.ids == tuple(generator.encode("x"))
    assert other.log_probabilities.shape == (0,)


def test_a_text_is_scored_in_chunks(generator, monkeypatch):
    (whole,) = generator.score(["".join(PROMPTS)])
    monkeypatch.setattr(causal_search, "CHUNK_TOKENS", 8)
    (chunked,) = generator.score(["".join(PROMPTS)])
    assert chunked.ids == whole.ids
    assert np.array_equal(chunked.log_probabilities, whole.log_probabilities)


@pytest.mark.parametrize("first", [-1, 3, 1.5, None])
def test_a_first_that_is_no_position_is_refused(generator, first):
    with pytest.raises(InputError, match=f"first must be a whole number from 0 to 2, found {first!r}"):
        generator.logits([5, 6, 7], first)
