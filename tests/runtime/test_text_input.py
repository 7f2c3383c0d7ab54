"""What a text generator refuses before anything runs: options, stops, prompts and ids that are none."""

import math

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.runtime.generation_options import Options
from tests.runtime.causal_lm_bundles import CONTEXT
from tests.runtime.text_prompts import VOCAB

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


def test_documented_defaults_are_the_defaults():
    options = Options.check()
    assert options.max_new_tokens == 256
    assert (options.sampling.temperature, options.sampling.repetition_penalty, options.stop) == (0, 1, ())
    assert not options.sampling.needs_logits
