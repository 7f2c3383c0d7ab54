"""Prompts in, texts out: as transformers generates them, alone or together, whole or piece by piece."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from edgekit.runtime import TextGenerator, causal_search
from tests.graph.causal_lm_checkpoints import make_gpt2
from tests.runtime.causal_lm_bundles import CONTEXT, byte_level, write_text_bundle
from tests.runtime.text_prompts import FILTERED, GREEDY, PROMPTS, SAMPLED, VOCAB


def transformers_ids(case, ids, count, **options):
    with torch.no_grad():
        found = case.torch_model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=count,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            **options,
        )
    return found[0, len(ids) :].tolist()


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_is_transformers(generator, llama_case, prompt):
    ids = generator.encode(prompt)
    expected = transformers_ids(llama_case, ids, 40)
    assert generator.generate_ids([ids], max_new_tokens=40) == [expected]
    assert generator.generate(prompt, max_new_tokens=40) == generator.decode(expected)


def test_a_repetition_penalty_is_transformers(generator, llama_case):
    ids = generator.encode(PROMPTS[0])
    expected = transformers_ids(llama_case, ids, 40, repetition_penalty=1.5)
    assert generator.generate_ids([ids], max_new_tokens=40, repetition_penalty=1.5) == [expected]
    assert expected != transformers_ids(llama_case, ids, 40)


def test_learned_positions_generate_too(tmp_path):
    case = make_gpt2()
    generator = TextGenerator.load(write_text_bundle(tmp_path / "gpt2", case, byte_level(), eos_token_ids=()))
    ids = [5, 50, 90, 7]
    assert generator.generate_ids([ids], max_new_tokens=30) == [transformers_ids(case, ids, 30)]


@pytest.mark.parametrize("options", [GREEDY, SAMPLED, FILTERED])
def test_a_list_gives_what_each_prompt_gives_alone(generator, options):
    alone = [generator.generate(prompt, max_new_tokens=30, **options) for prompt in PROMPTS]
    assert generator.generate(PROMPTS, max_new_tokens=30, **options) == alone
    assert generator.generate(PROMPTS[::-1], max_new_tokens=30, **options) == alone[::-1]
    assert generator.generate(iter(PROMPTS[:2]), max_new_tokens=30, **options) == alone[:2]
    assert generator.generate([], **options) == []
    assert len(set(alone)) == len(PROMPTS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOST_ROWS", 2),
        ("MOST_TOKENS", 1),
        ("FIRST_ROOM", 0),
        ("FIRST_ROOM", 3),
        ("CHUNK_TOKENS", 3),
        ("CHUNK_TOKENS", 7),
    ],
)
@pytest.mark.parametrize("options", [GREEDY, SAMPLED])
def test_how_prompts_run_together_changes_nothing(endless_llama, generator, name, value, options, monkeypatch):
    prompts = [*PROMPTS, "".join(PROMPTS), *PROMPTS[:2]]
    usual = generator.generate(prompts, max_new_tokens=30, **options)
    monkeypatch.setattr(causal_search, name, value)
    fresh = TextGenerator.load(endless_llama)
    assert fresh.generate(prompts, max_new_tokens=30, **options) == usual
    ids = generator.encode(prompts[5])
    assert np.array_equal(fresh.logits(ids), generator.logits(ids))


def test_waiting_prompts_take_the_place_of_those_that_end(endless_llama, monkeypatch):
    monkeypatch.setattr(causal_search, "MOST_ROWS", 3)
    sizes = []
    step = causal_search._Batch.step
    monkeypatch.setattr(causal_search._Batch, "step", lambda self: sizes.append(len(self.rows)) or step(self))
    generator = TextGenerator.load(endless_llama)
    stops = [generator.generate(prompt, max_new_tokens=30)[5:8] for prompt in PROMPTS]
    sizes.clear()
    found = generator.generate(PROMPTS, max_new_tokens=30, stop=stops[:2])
    assert max(sizes) == 3
    assert sizes[-1] < 3
    assert sum(sizes) < 29 * len(PROMPTS)  # some have ended early
    assert found == [generator.generate(prompt, max_new_tokens=30, stop=stops[:2]) for prompt in PROMPTS]


@pytest.mark.parametrize("options", [GREEDY, SAMPLED, {"stop": ["e", "\ufffd\ufffd"]}, FILTERED | {"stop": "a"}])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_stream_is_what_generate_gives(generator, prompt, options):
    pieces = list(generator.stream(prompt, max_new_tokens=40, **options))
    assert "".join(pieces) == generator.generate(prompt, max_new_tokens=40, **options)
    assert all(pieces)


def test_a_stop_string_ends_the_text_before_it(generator):
    text = generator.generate(PROMPTS[0], max_new_tokens=40)
    stop = text[10:13]
    assert generator.generate(PROMPTS[0], max_new_tokens=40, stop=stop) == text[: text.index(stop)]
    assert generator.generate(PROMPTS[0], max_new_tokens=40, stop=["\x00\x00", stop]) == text[: text.index(stop)]


def test_the_first_of_several_eos_ends_a_text(llama_case, generator, tmp_path):
    ids = generator.encode(PROMPTS[0])
    endless = generator.generate_ids([ids], max_new_tokens=40)[0]
    sixth, tenth = endless[5], endless[9]
    bundle = write_text_bundle(tmp_path / "lm", llama_case, byte_level(), eos_token_ids=(tenth, sixth))
    ending = TextGenerator.load(bundle)
    end = min(endless.index(sixth), endless.index(tenth))
    assert ending.generate_ids([ids], max_new_tokens=40) == [endless[:end]]
    assert ending.generate_ids([ids], max_new_tokens=40, ignore_eos=True) == [endless]
    assert list(ending.stream_ids(ids, max_new_tokens=40)) == endless[:end]


@pytest.mark.parametrize("count", [1, 2, 10])
def test_max_new_tokens_bounds_the_text(generator, count):
    assert [len(ids) for ids in generator.generate_ids([[5], [6, 7]], max_new_tokens=count)] == [count, count]


@pytest.mark.parametrize("length", [CONTEXT - 1, CONTEXT - 2, CONTEXT - 40])
def test_a_text_ends_with_the_context(generator, length):
    row = np.random.default_rng(0).integers(3, VOCAB, length).tolist()
    found = generator.generate_ids([row, row[:3]], max_new_tokens=10**6)
    assert [len(ids) for ids in found] == [CONTEXT - length, CONTEXT - 3]


def test_the_last_position_of_the_context_counts(generator, llama_case):
    row = np.random.default_rng(1).integers(3, VOCAB, CONTEXT - 3).tolist()
    assert generator.generate_ids([row], max_new_tokens=9) == [transformers_ids(llama_case, row, 3)]


class TestSeeds:
    def test_a_seed_reproduces_and_another_does_not(self, generator):
        texts = [generator.generate("x", max_new_tokens=20, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
        assert texts[0] == texts[1] != texts[2]

    def test_without_a_seed_texts_differ(self, generator):
        assert len(set(generator.generate(["x"] * 4, max_new_tokens=20, temperature=1.5))) == 4

    def test_a_text_does_not_depend_on_its_neighbours(self, generator):
        alone = generator.generate("x", max_new_tokens=20, **SAMPLED)
        for others in (["y"], PROMPTS, ["x", "x"]):
            assert generator.generate([*others, "x"], max_new_tokens=20, **SAMPLED)[-1] == alone


def test_a_model_that_begins_with_bos_gets_it(llama_case, tmp_path):
    settings = {"bos_token_id": 1, "adds_bos": True, "eos_token_ids": ()}
    generator = TextGenerator.load(write_text_bundle(tmp_path / "lm", llama_case, byte_level(), **settings))
    plain = byte_level().encode("x").ids
    assert generator.encode("x") == [1, *plain]
    (ids,) = generator.generate_ids([[1, *plain]], max_new_tokens=9)
    assert generator.generate("x", max_new_tokens=9) == generator.decode(ids)
    (score,) = generator.score(["x"])
    assert score.ids == (1, *plain)
    assert len(score.log_probabilities) == len(plain)


def test_eight_callers_at_once_get_what_one_gets(endless_llama, generator):
    expected = [generator.generate(PROMPTS, max_new_tokens=20, **options) for options in (GREEDY, SAMPLED)]
    barrier = threading.Barrier(8)
    shared = TextGenerator.load(endless_llama, prefix_cache_bytes=20_000)

    def one(number):
        barrier.wait()
        options = (GREEDY, SAMPLED)[number % 2]
        texts = ["".join(shared.stream(prompt, max_new_tokens=20, **options)) for prompt in PROMPTS[number % 5 :]]
        return shared.generate(PROMPTS, max_new_tokens=20, **options), texts

    with ThreadPoolExecutor(8) as pool:
        for number, (whole, streamed) in enumerate(pool.map(one, range(8))):
            assert whole == expected[number % 2]
            assert streamed == expected[number % 2][number % 5 :]
