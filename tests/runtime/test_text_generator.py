"""Prompts in, texts out: as transformers generates them, alone or together, whole or piece by piece."""

import dataclasses
import json
import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import edgekit
import edgekit.runtime
from edgekit.errors import BundleError, InputError, ModelNotFoundError, UnsupportedError
from edgekit.runtime import TextGenerator, Translator, causal_search
from edgekit.runtime.generation_options import Options
from tests.graph.causal_lm_checkpoints import make_gpt2, make_llama
from tests.runtime.causal_lm_bundles import CHATML, CONTEXT, byte_level, sized, write_text_bundle

VOCAB = 320
PROMPTS = [
    "The children are playing",
    "x",
    "def encode(text):\n    return",
    "Привет, мир! 早上好 😀",
    "one two three " * 5,
]


@pytest.fixture(scope="module")
def case():
    return sized(make_llama(vocab_size=VOCAB, max_position_embeddings=CONTEXT), VOCAB)


@pytest.fixture(scope="module")
def bundle(case, tmp_path_factory):
    """A model that ends no text by itself."""
    return write_text_bundle(tmp_path_factory.mktemp("lm") / "tiny", case, byte_level(), eos_token_ids=())


@pytest.fixture(scope="module")
def generator(bundle):
    return TextGenerator.load(bundle)


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
def test_greedy_text_is_transformers(generator, case, prompt):
    ids = generator.encode(prompt)
    expected = transformers_ids(case, ids, 40)
    assert generator.generate_ids([ids], max_new_tokens=40) == [expected]
    assert generator.generate(prompt, max_new_tokens=40) == generator.decode(expected)


def test_a_repetition_penalty_is_transformers(generator, case):
    ids = generator.encode(PROMPTS[0])
    expected = transformers_ids(case, ids, 40, repetition_penalty=1.5)
    assert generator.generate_ids([ids], max_new_tokens=40, repetition_penalty=1.5) == [expected]
    assert expected != transformers_ids(case, ids, 40)


def test_learned_positions_generate_too(tmp_path):
    case = make_gpt2()
    generator = TextGenerator.load(write_text_bundle(tmp_path / "gpt2", case, byte_level(), eos_token_ids=()))
    ids = [5, 50, 90, 7]
    assert generator.generate_ids([ids], max_new_tokens=30) == [transformers_ids(case, ids, 30)]


GREEDY = {}
SAMPLED = {"temperature": 1.0, "top_p": 0.95, "seed": 5}
FILTERED = {"temperature": 1.5, "top_k": 40, "min_p": 0.01, "repetition_penalty": 1.2, "seed": 0}


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
def test_how_prompts_run_together_changes_nothing(bundle, generator, name, value, options, monkeypatch):
    prompts = [*PROMPTS, "".join(PROMPTS), *PROMPTS[:2]]
    usual = generator.generate(prompts, max_new_tokens=30, **options)
    monkeypatch.setattr(causal_search, name, value)
    fresh = TextGenerator.load(bundle)
    assert fresh.generate(prompts, max_new_tokens=30, **options) == usual
    ids = generator.encode(prompts[5])
    assert np.array_equal(fresh.logits(ids), generator.logits(ids))


def test_waiting_prompts_take_the_place_of_those_that_end(bundle, monkeypatch):
    monkeypatch.setattr(causal_search, "MOST_ROWS", 3)
    sizes = []
    step = causal_search._Batch.step
    monkeypatch.setattr(causal_search._Batch, "step", lambda self: sizes.append(len(self.rows)) or step(self))
    generator = TextGenerator.load(bundle)
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


def test_the_first_of_several_eos_ends_a_text(case, generator, tmp_path):
    ids = generator.encode(PROMPTS[0])
    endless = generator.generate_ids([ids], max_new_tokens=40)[0]
    sixth, tenth = endless[5], endless[9]
    bundle = write_text_bundle(tmp_path / "lm", case, byte_level(), eos_token_ids=(tenth, sixth))
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


def test_the_last_position_of_the_context_counts(generator, case):
    row = np.random.default_rng(1).integers(3, VOCAB, CONTEXT - 3).tolist()
    assert generator.generate_ids([row], max_new_tokens=9) == [transformers_ids(case, row, 3)]


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


class TestChat:
    MESSAGES = [{"role": "user", "content": "Hello <|im_end|>!"}]  # noqa: RUF012

    def test_an_answer_is_what_follows_the_rendered_conversation(self, generator):
        (expected,) = generator.generate_ids([generator._chat.encode(self.MESSAGES)], max_new_tokens=20)
        assert "".join(generator.stream_chat(self.MESSAGES, max_new_tokens=20)) == generator.decode(expected)

    def test_many_conversations_are_answered_as_each_alone(self, generator):
        others = [*self.MESSAGES, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "And?"}]
        answers = generator.chat_each([self.MESSAGES, others], max_new_tokens=20)
        assert answers == [generator.chat(each, max_new_tokens=20) for each in (self.MESSAGES, others)]
        assert generator.chat_each([]) == []
        with pytest.raises(InputError, match=r"message 0: role must be one of system, user, assistant, found 'bot'"):
            generator.chat_each([self.MESSAGES, [{"role": "bot", "content": "a"}]])

    def test_ids_of_a_conversation_give_its_answer(self, generator):
        (expected,) = generator.generate_ids([generator.encode_chat(self.MESSAGES)], max_new_tokens=20)
        assert generator.chat(self.MESSAGES, max_new_tokens=20) == generator.decode(expected)

    def test_options_are_generates(self, generator):
        plain = generator.chat(self.MESSAGES, max_new_tokens=20)
        assert generator.chat(self.MESSAGES, max_new_tokens=20, stop=plain[4:6]) == plain[: plain.index(plain[4:6])]
        assert generator.chat(self.MESSAGES, max_new_tokens=20, **SAMPLED) != plain

    def test_a_model_without_a_template_is_no_chat_model(self, case, tmp_path):
        generator = TextGenerator.load(write_text_bundle(tmp_path / "lm", case, byte_level(), chat=None))
        for chat in (generator.chat, generator.stream_chat):
            with pytest.raises(UnsupportedError, match=r"^tiny has no chat template; use generate$"):
                chat(self.MESSAGES)

    @pytest.mark.parametrize(
        ("messages", "message"),
        [
            (None, "messages must be a list of dicts with role and content, found NoneType"),
            ("Hello", "messages must be a list of dicts with role and content, found str"),
            ({"role": "user", "content": "a"}, "messages must be a list of dicts with role and content, found dict"),
            ([], "messages must hold at least one message, found none"),
            (["Hello"], "messages must hold dicts with role and content, found str at index 0"),
            ([{"role": "user", "content": "a"}, None], "with role and content, found NoneType at index 1"),
            ([{"role": "user"}], "message 0 must have the keys 'role' and 'content', found 'role'"),
            ([{}], "message 0 must have the keys 'role' and 'content', found none"),
            ([{"role": "user", "content": "a", "name": "b"}], "found 'role', 'content', 'name'"),
            ([{"role": "bot", "content": "a"}], "message 0: role must be one of system, user, assistant, found 'bot'"),
            ([{"role": None, "content": "a"}], "message 0: role must be one of .*, found None"),
            ([{"role": [], "content": "a"}], r"message 0: role must be one of .*, found \[\]"),
            ([{"role": "user", "content": None}], "message 0: content must be a text, found NoneType"),
            ([{"role": "user", "content": ["a"]}], "message 0: content must be a text, found list"),
        ],
    )
    def test_messages_of_another_form_are_refused(self, generator, messages, message):
        for chat in (generator.chat, generator.stream_chat):
            with pytest.raises(InputError, match=message):
                chat(messages)


class TestScores:
    def test_logits_are_transformers(self, generator, case):
        ids = generator.encode("".join(PROMPTS))[:CONTEXT]
        found = generator.logits(ids)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, case.logits(ids), rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("first", [0, 1, 6, 7, 8, 100])
    def test_logits_from_a_position_on_are_the_same(self, generator, first, monkeypatch):
        ids = np.random.default_rng(0).integers(3, VOCAB, 101)
        whole = generator.logits(ids)
        monkeypatch.setattr(causal_search, "CHUNK_TOKENS", 7)
        assert np.array_equal(generator.logits(ids, first), whole[first:])

    def test_scores_are_log_probabilities(self, generator, case):
        ids = generator.encode(PROMPTS[0])
        expected = torch.log_softmax(torch.tensor(case.logits(ids)), dim=1)[range(len(ids) - 1), ids[1:]]
        score, other = generator.score(PROMPTS[:2])
        assert score.ids == tuple(ids)
        assert score.log_probabilities.dtype == np.float32
        np.testing.assert_allclose(score.log_probabilities, expected, rtol=1e-4)
        assert other.ids == tuple(generator.encode("x"))
        assert other.log_probabilities.shape == (0,)

    def test_a_text_is_scored_in_chunks(self, generator, monkeypatch):
        (whole,) = generator.score(["".join(PROMPTS)])
        monkeypatch.setattr(causal_search, "CHUNK_TOKENS", 8)
        (chunked,) = generator.score(["".join(PROMPTS)])
        assert chunked.ids == whole.ids
        assert np.array_equal(chunked.log_probabilities, whole.log_probabilities)

    @pytest.mark.parametrize("first", [-1, 3, 1.5, None])
    def test_a_first_that_is_no_position_is_refused(self, generator, first):
        with pytest.raises(InputError, match=f"first must be a whole number from 0 to 2, found {first!r}"):
            generator.logits([5, 6, 7], first)


def test_a_model_that_begins_with_bos_gets_it(case, tmp_path):
    settings = {"bos_token_id": 1, "adds_bos": True, "eos_token_ids": ()}
    generator = TextGenerator.load(write_text_bundle(tmp_path / "lm", case, byte_level(), **settings))
    plain = byte_level().encode("x").ids
    assert generator.encode("x") == [1, *plain]
    (ids,) = generator.generate_ids([[1, *plain]], max_new_tokens=9)
    assert generator.generate("x", max_new_tokens=9) == generator.decode(ids)
    (score,) = generator.score(["x"])
    assert score.ids == (1, *plain)
    assert len(score.log_probabilities) == len(plain)


BAD_OPTIONS = [
    ("temperature", -0.1, "a number from 0"),
    ("temperature", math.nan, "a number from 0"),
    ("temperature", math.inf, "a number from 0"),
    ("temperature", "hot", "a number from 0"),
    ("temperature", None, "a number from 0"),
    ("temperature", True, "a number from 0"),
    ("top_p", 7, "a number above 0, up to 1"),
    ("top_p", 0, "a number above 0, up to 1"),
    ("top_p", math.nan, "a number above 0, up to 1"),
    ("top_k", 0, "a whole number from 1"),
    ("top_k", -1, "a whole number from 1"),
    ("top_k", 1.5, "a whole number from 1"),
    ("min_p", -0.1, "a number from 0 to 1"),
    ("min_p", 1.1, "a number from 0 to 1"),
    ("repetition_penalty", 0, "a number above 0"),
    ("repetition_penalty", -1, "a number above 0"),
    ("repetition_penalty", None, "a number above 0"),
    ("max_new_tokens", 0, "a whole number from 1"),
    ("max_new_tokens", 2.0, "a whole number from 1"),
    ("max_new_tokens", None, "a whole number from 1"),
    ("seed", -1, "a whole number from 0 to 18446744073709551615"),
    ("seed", 2**64, "a whole number from 0 to 18446744073709551615"),
    ("seed", "a", "a whole number from 0 to 18446744073709551615"),
    ("seed", True, "a whole number from 0 to 18446744073709551615"),
    ("ignore_eos", 1, "True or False"),
]


@pytest.mark.parametrize(("name", "value", "expected"), BAD_OPTIONS)
def test_options_outside_their_range_are_refused_before_anything_runs(generator, name, value, expected):
    message = f"^{name} must be {expected}, found {value!r}$"
    user = [{"role": "user", "content": "a"}]
    for call, argument in (
        (generator.generate, "a"),
        (generator.generate, []),
        (generator.stream, "a"),
        (generator.chat, user),
        (generator.stream_chat, user),
        (generator.generate_ids, [[5]]),
        (generator.stream_ids, [5]),
    ):
        with pytest.raises(InputError, match=message):
            call(argument, **{name: value})


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (5, "stop must be a text or a list of texts, found int"),
        (None, "stop must be a text or a list of texts, found NoneType"),
        (b"a", "stop must be a text or a list of texts, found bytes"),
        ({"a": 1}, "stop must be a text or a list of texts, found dict"),
        (["a", 5], "stop must hold texts, found int at index 1"),
        ("", "stop must hold texts that are not empty, found an empty one at index 0"),
        (["a", ""], "stop must hold texts that are not empty, found an empty one at index 1"),
    ],
)
def test_stops_that_are_no_texts_are_refused(generator, stop, message):
    for call in (generator.generate, generator.stream):
        with pytest.raises(InputError, match=message):
            call("a", stop=stop)


def test_an_unknown_option_is_a_type_error(generator):
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        generator.generate("a", temprature=1)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "generate takes texts that are not empty, found an empty one at index 0"),
        (["a", ""], "generate takes texts that are not empty, found an empty one at index 1"),
        (None, "generate takes a text or a list of texts, found NoneType"),
        (5, "generate takes a text or a list of texts, found int"),
        (b"a", "generate takes a text or a list of texts, found bytes"),
        (["a", 5], "generate takes texts, found int at index 1"),
        ("a" * 1_000_001, "expected a text of at most 1000000 characters, found 1000001; split it"),
    ],
)
def test_prompts_that_are_no_texts_are_refused(generator, prompt, message):
    with pytest.raises(InputError, match=message):
        generator.generate(prompt)


def test_a_stream_takes_one_text(generator):
    for prompt, found in ((["a"], "list"), (None, "NoneType")):
        with pytest.raises(InputError, match=f"stream takes texts, found {found} at index 0"):
            generator.stream(prompt)


def test_a_prompt_longer_than_the_context_is_refused_by_name_with_both_numbers(generator):
    limit = f"tiny takes at most {CONTEXT - 1}, one less than its context of {CONTEXT}; shorten it"
    long = "x" + "!" * (CONTEXT - 1)
    count = len(generator.encode(long))
    with pytest.raises(InputError, match=f"^prompt 1 has {count} tokens; {limit}$"):
        generator.generate(["a", long])
    with pytest.raises(InputError, match=f"^the prompt has {count} tokens; {limit}$"):
        generator.stream(long)
    with pytest.raises(InputError, match=rf"^the conversation has \d+ tokens; {limit}$"):
        generator.chat([{"role": "user", "content": long}])
    with pytest.raises(InputError, match=f"^prompt 0 has {CONTEXT} tokens; {limit}$"):
        generator.generate_ids([[5] * CONTEXT])
    with pytest.raises(InputError, match=f"^token_ids has {CONTEXT + 1} tokens; the context of tiny is {CONTEXT}$"):
        generator.logits([5] * (CONTEXT + 1))
    with pytest.raises(InputError, match=rf"^text 1 has \d+ tokens; the context of tiny is {CONTEXT}$"):
        generator.score(["a", long * 2])
    assert generator.logits([5] * CONTEXT).shape == (CONTEXT, VOCAB)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[5], []], "generate_ids: row 1 must hold at least one id, found none"),
        ([[VOCAB]], f"generate_ids: row 0 must hold ids of the vocabulary, 0 to {VOCAB - 1}, found {VOCAB}"),
        ([[5, -1]], "generate_ids: row 0 must hold ids of the vocabulary, 0 to 319, found -1"),
        ([[1.5]], "generate_ids: row 0 must be a sequence of ids, whole numbers, found list"),
        ([5], "generate_ids: row 0 must be a sequence of ids, whole numbers, found int"),
        (["ab"], "generate_ids: row 0 must be a sequence of ids, whole numbers, found str"),
        ("ab", "generate_ids takes a list of rows of ids, found str"),
        (5, "generate_ids takes a list of rows of ids, found int"),
    ],
)
def test_ids_that_are_none_are_refused(generator, rows, message):
    with pytest.raises(InputError, match=message):
        generator.generate_ids(rows)


def test_numpy_integers_are_ids(generator):
    found = generator.generate_ids([np.array([5, 6], np.int32)], max_new_tokens=3)
    assert found == generator.generate_ids([[5, 6]], max_new_tokens=3)
    assert all(type(index) is int for index in found[0])


def test_a_text_is_not_a_list_of_texts_to_score(generator):
    with pytest.raises(InputError, match="score takes a list of texts, found str"):
        generator.score("a")


def test_eight_callers_at_once_get_what_one_gets(bundle, generator):
    expected = [generator.generate(PROMPTS, max_new_tokens=20, **options) for options in (GREEDY, SAMPLED)]
    barrier = threading.Barrier(8)
    shared = TextGenerator.load(bundle, prefix_cache_bytes=20_000)

    def one(number):
        barrier.wait()
        options = (GREEDY, SAMPLED)[number % 2]
        texts = ["".join(shared.stream(prompt, max_new_tokens=20, **options)) for prompt in PROMPTS[number % 5 :]]
        return shared.generate(PROMPTS, max_new_tokens=20, **options), texts

    with ThreadPoolExecutor(8) as pool:
        for number, (whole, streamed) in enumerate(pool.map(one, range(8))):
            assert whole == expected[number % 2]
            assert streamed == expected[number % 2][number % 5 :]


class TestPrefixes:
    """What is remembered changes the work, never the text."""

    @pytest.fixture
    def counted(self, bundle, monkeypatch):
        """A generator without memories, and how many tokens each prompt has run."""
        ran = []
        chunks = causal_search.chunks
        monkeypatch.setattr(causal_search, "chunks", lambda start, end: ran.append(end - start) or chunks(start, end))
        return TextGenerator.load(bundle), ran

    @pytest.mark.parametrize("options", [GREEDY, SAMPLED])
    def test_a_longer_prompt_runs_what_is_new(self, counted, bundle, options):
        generator, ran = counted
        plain = TextGenerator.load(bundle, prefix_cache_bytes=0)
        long = "".join(PROMPTS)
        lengths = [len(generator.encode(long[:end])) for end in (40, 80)]
        for end in (40, 80):
            found = generator.generate(long[:end], max_new_tokens=20, **options)
            ran_here = ran[-1]
            assert found == plain.generate(long[:end], max_new_tokens=20, **options)
        assert ran_here < lengths[1] - lengths[0] + 5

    def test_the_same_prompt_runs_two_tokens(self, counted):
        generator, ran = counted
        texts = [generator.generate(PROMPTS[0], max_new_tokens=9) for _ in range(3)]
        assert len(set(texts)) == 1
        assert ran[1:] == [2, 2]

    def test_without_room_nothing_is_remembered(self, bundle, counted):
        _, ran = counted
        generator = TextGenerator.load(bundle, prefix_cache_bytes=0)
        for _ in range(2):
            generator.generate(PROMPTS[0], max_new_tokens=1)
        assert ran == [len(generator.encode(PROMPTS[0]))] * 2

    def test_memory_is_bounded(self, bundle):
        limit = 50_000
        generator = TextGenerator.load(bundle, prefix_cache_bytes=limit)
        for seed in range(20):
            row = np.random.default_rng(seed).integers(3, VOCAB, 5 + seed * 7).tolist()
            generator.generate_ids([row], max_new_tokens=1)
            assert 0 < generator._prefixes.size_bytes <= limit

    def test_of_a_prompt_that_is_too_long_the_beginning_is_remembered(self, counted, bundle):
        _, ran = counted
        generator = TextGenerator.load(bundle, prefix_cache_bytes=40_000)
        row = np.random.default_rng(0).integers(3, VOCAB, 150).tolist()
        first = generator.generate_ids([row], max_new_tokens=5)
        assert generator.generate_ids([row], max_new_tokens=5) == first
        assert ran[0] == 150
        assert 0 < ran[1] < 120

    @pytest.mark.parametrize("number", [-1, 1.5, "a", None])
    def test_a_limit_that_is_none_is_refused(self, bundle, number):
        with pytest.raises(
            InputError, match=f"prefix_cache_bytes must be a whole number from 0 to .*, found {number!r}"
        ):
            TextGenerator.load(bundle, prefix_cache_bytes=number)


class TestClosing:
    def test_a_closed_generator_says_so(self, bundle):
        with TextGenerator.load(bundle) as generator:
            stream = generator.stream("x", max_new_tokens=5)
            assert generator.generate("x", max_new_tokens=2)
        for call in (
            lambda: generator.generate("x"),
            lambda: generator.stream("x"),
            lambda: generator.score(["x"]),
            lambda: generator.logits([5]),
        ):
            with pytest.raises(InputError, match=r"^this text generator has been closed; load the model again$"):
                call()
        assert len(list(stream)) > 0  # what was begun ends as usual
        generator.close()

    def test_a_closed_stream_runs_no_more(self, bundle, monkeypatch):
        generator, steps = TextGenerator.load(bundle), []
        step = causal_search._Batch.step
        monkeypatch.setattr(causal_search._Batch, "step", lambda self: steps.append(1) or step(self))
        stream = generator.stream_ids([5, 6], max_new_tokens=100)
        next(stream), next(stream)
        stream.close()
        assert list(stream) == []
        assert len(steps) == 1


class TestLoading:
    def test_a_bundles_kind_decides_what_it_is_loaded_as(self, bundle, marian_bundle):
        assert isinstance(edgekit.load(bundle), TextGenerator)
        assert isinstance(edgekit.load(str(bundle), threads=2), TextGenerator)
        assert isinstance(edgekit.load(marian_bundle), Translator)
        assert isinstance(Translator.load(marian_bundle), Translator)

    def test_the_other_kind_is_refused(self, bundle, marian_bundle):
        with pytest.raises(BundleError, match="a causal-lm bundle can't translate; export a seq2seq model"):
            Translator.load(bundle)
        with pytest.raises(BundleError, match="a seq2seq bundle can't generate text; export a decoder-only model"):
            TextGenerator.load(marian_bundle)

    def test_what_is_no_bundle_is_refused(self, tmp_path):
        with pytest.raises(ModelNotFoundError):
            TextGenerator.load(tmp_path / "nothing")

    @pytest.mark.parametrize("threads", [0, 1.5, "2"])
    def test_threads_that_are_none_are_refused(self, bundle, threads):
        with pytest.raises(InputError, match=f"threads must be a whole number from 1, found {threads!r}"):
            TextGenerator.load(bundle, threads=threads)

    def test_what_a_bundle_says_is_at_hand(self, generator):
        assert generator.manifest.kind == "causal-lm"
        assert generator.context_length == CONTEXT
        assert generator.decode(generator.encode("Größe 😀")) == "Größe 😀"

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"dtype": "int8"}, "state key_0: expected float32, found int8"),
            (
                {"batch_axis": 1, "shape": ("x", "batch", "capacity", 16)},
                "state key_0: expected an appended state whose",
            ),
        ],
    )
    def test_a_manifest_that_does_not_fit_its_graph_is_refused(self, bundle, change, problem, generator):
        first, *others = generator.manifest.state
        manifest = dataclasses.replace(generator.manifest, state=(dataclasses.replace(first, **change), *others))
        with pytest.raises(BundleError, match=f"^the bundle's manifest does not fit its graphs: .*{problem}"):
            edgekit.runtime.ports.check_causal_ports(manifest, generator._search.session)

    def test_a_state_that_is_missing_is_named(self, generator):
        manifest = dataclasses.replace(generator.manifest, state=generator.manifest.state[1:])
        message = (
            "the graph's inputs have past_key_0, which the manifest does not explain; the graph's outputs have present"
        )
        with pytest.raises(BundleError, match=message):
            edgekit.runtime.ports.check_causal_ports(manifest, generator._search.session)

    def test_importing_the_runtime_imports_neither_tokenizers_nor_jinja(self):
        code = (
            "import sys, edgekit.runtime as r; print('tokenizers' in sys.modules, 'jinja2' in sys.modules);"
            "r.TextGenerator; print('tokenizers' in sys.modules, 'jinja2' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.split() == ["False", "False", "True", "False"]

    def test_the_package_has_nothing_else(self):
        with pytest.raises(AttributeError, match=r"module 'edgekit\.runtime' has no attribute 'Nothing'"):
            _ = edgekit.runtime.Nothing


def test_documented_defaults_are_the_defaults():
    options = Options.check()
    assert options.max_new_tokens == 256
    assert (options.sampling.temperature, options.sampling.repetition_penalty, options.stop) == (0, 1, ())
    assert not options.sampling.needs_logits


def test_the_templates_file_is_checked_like_all_others(case, tmp_path):
    bundle = write_text_bundle(tmp_path / "lm", case, byte_level())
    (bundle / "chat_template.jinja").write_text(CHATML.replace("a", "b"), encoding="utf-8")
    with pytest.raises(BundleError, match=r"chat_template\.jinja: expected SHA-256"):
        TextGenerator.load(bundle)
    assert json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["chat"]["template"] == "chat_template.jinja"
