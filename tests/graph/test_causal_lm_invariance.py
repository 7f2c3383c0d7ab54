"""A text's logits are the same, bit for bit, alone and in any batch, whatever its neighbours and padding."""

import platform

import numpy as np
import pytest

from tests.graph.causal_lm_checkpoints import VOCAB, make_gemma3, make_gpt2, make_llama, make_qwen3
from tests.graph.causal_lm_session import CausalLMSession
from tests.graph.causal_lm_weights import in_form, precision_of
from tests.graph.row_kernels import need_rows_that_agree

CAPACITY, STEPS = 48, 4
RANDOM = np.random.default_rng(5)
TEXTS = [RANDOM.integers(0, VOCAB, length + STEPS) for length in (9, 1, 33, 4, 17)]
MODELS = {
    "llama": make_llama,
    "llama of SmolLM2's heads": lambda: make_llama(
        hidden_size=144, intermediate_size=208, num_attention_heads=3, num_key_value_heads=1, head_dim=64
    ),
    "qwen3": make_qwen3,
    "gpt2": make_gpt2,
    "gemma3_text": make_gemma3,
}


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module", params=["fp32", "int8", "4 bits", "8 bits"])
def session(request, case, tmp_path_factory):
    need_rows_that_agree(precision_of(request.param))
    directory = tmp_path_factory.mktemp("model")
    weights = in_form(case.weights, request.param)
    return CausalLMSession(directory, case.config, weights, precision_of(request.param))


def generate(session, texts, alone=False, **options):
    """Logits after each prompt and after each of its `STEPS` last tokens: ``[texts, 1 + STEPS, vocabulary]``."""
    session.start(len(texts), CAPACITY)
    logits = [session.run([text[:-STEPS] for text in texts], **options)]
    for step in range(-STEPS, 0):
        logits.append(session.run([text[len(text) + step :][:1] for text in texts], alone=alone))
    return np.stack(logits, axis=1)


@pytest.fixture(scope="module")
def alone(session):
    return np.concatenate([generate(session, [text]) for text in TEXTS])


def test_neighbours_and_padding_change_nothing(session, alone):
    np.testing.assert_array_equal(generate(session, TEXTS), alone)
    order = [3, 0, 4]
    np.testing.assert_array_equal(generate(session, [TEXTS[row] for row in order]), alone[order])


def test_neighbours_change_nothing_where_each_has_one_query_alone(session, alone):
    found = generate(session, TEXTS, alone=True)
    np.testing.assert_array_equal(found, np.concatenate([generate(session, [text], alone=True) for text in TEXTS]))
    if session.precision == "fp32":
        np.testing.assert_allclose(found, alone, atol=1e-4 * alone.std())


def test_what_stands_in_the_padding_changes_nothing(session, alone):
    np.testing.assert_array_equal(generate(session, TEXTS, width=40, filler=VOCAB - 1), alone)


def assert_same(session, found, expected, alone):
    """Bit for bit with kernels that are known for it: x86, heads of 32 or more; else but for the last bits."""
    if session.config.head_dim >= 32 and platform.machine().lower() in ("x86_64", "amd64"):
        np.testing.assert_array_equal(found, expected)
    elif session.precision == "fp32":
        np.testing.assert_allclose(found, expected, atol=1e-4 * alone.std())


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_prompt_in_pieces_is_the_same(session, alone, size):
    for text, expected in zip(TEXTS, alone, strict=True):
        session.start(1, CAPACITY)
        prompt = text[:-STEPS]
        for start in range(0, len(prompt), size):
            found = session.run([prompt[start : start + size]])[0]
        assert_same(session, found, expected[0], alone)


def test_tokens_that_follow_are_the_same_in_a_longer_prompt(session, alone):
    """As a text is scored in one go, or a draft of it is verified."""
    for text, expected in zip(TEXTS, alone, strict=True):
        session.start(1, CAPACITY)
        assert_same(session, session.run([text], every=True)[-1 - STEPS :], expected, alone)


def test_pieces_of_different_texts_may_run_together(session, alone):
    session.start(2, CAPACITY)
    first, second = TEXTS[0][:-STEPS], TEXTS[2][:-STEPS]
    session.run([first[:2], second[:11]])
    found = session.run([first[2:], second[11:]])
    np.testing.assert_allclose(found, alone[[0, 2], 0], atol=1e-4 * alone.std())
    assert_same(session, found, alone[[0, 2], 0], alone)


def test_the_contexts_last_position_can_be_filled(session):
    ids = RANDOM.integers(0, VOCAB, session.config.context_length)
    session.start(1, len(ids))
    expected = session.run([ids], every=True)[-1]
    session.start(1, len(ids))
    session.run([ids[:-1]])
    found = session.run([ids[-1:]], alone=True)[0]
    np.testing.assert_allclose(found, expected, atol=(1e-4 if session.precision == "fp32" else 1) * expected.std())
