"""Conversations in, answers out: each is the text that follows the rendered conversation."""

import pytest

from edgekit.errors import InputError, UnsupportedError
from edgekit.runtime import TextGenerator
from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle
from tests.runtime.text_prompts import SAMPLED

MESSAGES = [{"role": "user", "content": "Hello <|im_end|>!"}]


def test_an_answer_is_what_follows_the_rendered_conversation(generator):
    (expected,) = generator.generate_ids([generator._chat.encode(MESSAGES)], max_new_tokens=20)
    assert "".join(generator.stream_chat(MESSAGES, max_new_tokens=20)) == generator.decode(expected)


def test_many_conversations_are_answered_as_each_alone(generator):
    others = [*MESSAGES, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "And?"}]
    answers = generator.chat_each([MESSAGES, others], max_new_tokens=20)
    assert answers == [generator.chat(each, max_new_tokens=20) for each in (MESSAGES, others)]
    assert generator.chat_each([]) == []
    with pytest.raises(InputError, match=r"message 0: role must be one of system, user, assistant, found 'bot'"):
        generator.chat_each([MESSAGES, [{"role": "bot", "content": "a"}]])


def test_ids_of_a_conversation_give_its_answer(generator):
    (expected,) = generator.generate_ids([generator.encode_chat(MESSAGES)], max_new_tokens=20)
    assert generator.chat(MESSAGES, max_new_tokens=20) == generator.decode(expected)


def test_options_are_generates(generator):
    plain = generator.chat(MESSAGES, max_new_tokens=20)
    assert generator.chat(MESSAGES, max_new_tokens=20, stop=plain[4:6]) == plain[: plain.index(plain[4:6])]
    assert generator.chat(MESSAGES, max_new_tokens=20, **SAMPLED) != plain


def test_a_model_without_a_template_is_no_chat_model(llama_case, tmp_path):
    generator = TextGenerator.load(write_text_bundle(tmp_path / "lm", llama_case, byte_level(), chat=None))
    for chat in (generator.chat, generator.stream_chat):
        with pytest.raises(UnsupportedError, match=r"^tiny has no chat template; use generate$"):
            chat(MESSAGES)


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
def test_messages_of_another_form_are_refused(generator, messages, message):
    for chat in (generator.chat, generator.stream_chat):
        with pytest.raises(InputError, match=message):
            chat(messages)
