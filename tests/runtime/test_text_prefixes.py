"""What a text generator remembers of earlier prompts changes its work, never its texts."""

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.runtime import TextGenerator, causal_search
from tests.runtime.text_prompts import GREEDY, PROMPTS, SAMPLED, VOCAB


@pytest.fixture
def counted(endless_llama, monkeypatch):
    """A generator without memories, and how many tokens each prompt has run."""
    ran = []
    chunks = causal_search.chunks
    monkeypatch.setattr(causal_search, "chunks", lambda start, end: ran.append(end - start) or chunks(start, end))
    return TextGenerator.load(endless_llama), ran


@pytest.mark.parametrize("options", [GREEDY, SAMPLED])
def test_a_longer_prompt_runs_what_is_new(counted, endless_llama, options):
    generator, ran = counted
    plain = TextGenerator.load(endless_llama, prefix_cache_bytes=0)
    long = "".join(PROMPTS)
    lengths = [len(generator.encode(long[:end])) for end in (40, 80)]
    for end in (40, 80):
        found = generator.generate(long[:end], max_new_tokens=20, **options)
        ran_here = ran[-1]
        assert found == plain.generate(long[:end], max_new_tokens=20, **options)
    assert ran_here < lengths[1] - lengths[0] + 5


def test_the_same_prompt_runs_two_tokens(counted):
    generator, ran = counted
    texts = [generator.generate(PROMPTS[0], max_new_tokens=9) for _ in range(3)]
    assert len(set(texts)) == 1
    assert ran[1:] == [2, 2]


def test_without_room_nothing_is_remembered(endless_llama, counted):
    _, ran = counted
    generator = TextGenerator.load(endless_llama, prefix_cache_bytes=0)
    for _ in range(2):
        generator.generate(PROMPTS[0], max_new_tokens=1)
    assert ran == [len(generator.encode(PROMPTS[0]))] * 2


def test_memory_is_bounded(endless_llama):
    limit = 50_000
    generator = TextGenerator.load(endless_llama, prefix_cache_bytes=limit)
    for seed in range(20):
        row = np.random.default_rng(seed).integers(3, VOCAB, 5 + seed * 7).tolist()
        generator.generate_ids([row], max_new_tokens=1)
        assert 0 < generator._prefixes.size_bytes <= limit


def test_of_a_prompt_that_is_too_long_the_beginning_is_remembered(counted, endless_llama):
    _, ran = counted
    generator = TextGenerator.load(endless_llama, prefix_cache_bytes=40_000)
    row = np.random.default_rng(0).integers(3, VOCAB, 150).tolist()
    first = generator.generate_ids([row], max_new_tokens=5)
    assert generator.generate_ids([row], max_new_tokens=5) == first
    assert ran[0] == 150
    assert 0 < ran[1] < 120


@pytest.mark.parametrize("number", [-1, 1.5, "a", None])
def test_a_limit_that_is_none_is_refused(endless_llama, number):
    with pytest.raises(InputError, match=f"prefix_cache_bytes must be a whole number from 0 to .*, found {number!r}"):
        TextGenerator.load(endless_llama, prefix_cache_bytes=number)
