import pytest

from edgekit.bench.answers import answer_bulk, answer_each, shared_prefix_bytes
from edgekit.bench.prompts import builtin_prompts, render
from edgekit.bench.worker import answer
from edgekit.runtime import TextGenerator, Translator
from tests.runtime.causal_lm_bundles import CONTROL, byte_level, write_text_bundle


@pytest.fixture(scope="module")
def translator(embedded_int8):
    return Translator.load(embedded_int8)


@pytest.fixture(scope="module")
def generator(tmp_path_factory, llama_case):
    bundle = write_text_bundle(tmp_path_factory.mktemp("lm") / "chat", llama_case, byte_level())
    with TextGenerator.load(bundle) as loaded:
        yield loaded


def ask(*asked, inputs=None, **options):
    return {"asked": list(asked), "inputs": inputs or ["xy"] * len(asked), "stop": [], "max_new_tokens": 9} | options


def test_a_translator_answers_with_its_translation(translator):
    texts = ["Good morning!", "Tom is a good friend."]
    request = {"asked": texts, "languages": None, "batch_tokens": 512}
    each = answer_each(translator, request)["answers"]
    assert [one["text"] for one in each] == translator.translate(texts)
    assert all(0 < one["first_ms"] <= one["ms"] for one in each)
    assert all(one["cpu_seconds"] > 0 for one in each)
    bulk = answer_bulk(translator, request)
    assert bulk["texts"] == translator.translate(texts)
    assert bulk["seconds"] > 0
    assert bulk["cpu_seconds"] > 0


def test_completions_and_chats_are_what_the_generator_gives(generator):
    message = [{"role": "user", "content": "hello"}]
    (completion,) = answer_each(generator, ask("once upon"))["answers"]
    assert completion["text"] == generator.generate("once upon", max_new_tokens=9)
    assert completion["first_ms"] < completion["ms"]
    (chat,) = answer_each(generator, ask(message))["answers"]
    assert chat["text"] == generator.chat(message, max_new_tokens=9)
    assert answer_bulk(generator, ask("once upon", "there"))["texts"][0] == completion["text"]
    assert answer_bulk(generator, ask(message, message))["texts"] == [chat["text"]] * 2


def test_stop_strings_and_limits_end_an_answer(generator):
    text = generator.generate("once upon", max_new_tokens=9)
    (stopped,) = answer_each(generator, ask("once upon", stop=[text[4]]))["answers"]
    assert stopped["text"] == text[: text.index(text[4])]
    # 32 tokens and three for each of the input's, where nobody says how many.
    (free,) = answer_each(generator, ask("once upon", inputs=["abcd"], max_new_tokens=None))["answers"]
    most = 32 + 3 * len(generator.tokenizer.encode("abcd"))
    assert free["text"] == generator.generate("once upon", max_new_tokens=most)


def test_a_prompt_beyond_the_context_is_refused_and_the_others_go_on(generator):
    long = "word " * 100
    each = answer_each(generator, ask(long, "once"))["answers"]
    assert "tokens; the model's context is 160" in each[0]["refused"]
    assert each[1]["text"] == generator.generate("once", max_new_tokens=9)
    assert answer_bulk(generator, ask("once", long))["texts"] == [each[1]["text"], None]
    assert answer_bulk(generator, ask(long))["texts"] == [None]


def test_a_cache_of_the_shared_prefix_holds_no_item(generator, tmp_path, llama_case):
    first, second = "shared beginning, one", "shared beginning, two"
    size = answer(generator, {"do": "shared_prefix", "asked": [first, second]})["bytes"]
    with TextGenerator.load(
        write_text_bundle(tmp_path / "lm", llama_case, byte_level()), prefix_cache_bytes=size
    ) as other:
        assert other.generate(first, max_new_tokens=5) == generator.generate(first, max_new_tokens=5)
        known, _ = other._prefixes.longest(other.encode(first))
        both = zip(other.encode(first), other.encode(second), strict=False)
        assert known == next(index for index, (one, two) in enumerate(both) if one != two) > 5
    assert shared_prefix_bytes(generator, {"asked": ["x", "y"]})["bytes"] == 0
    assert shared_prefix_bytes(generator, {"asked": ["x", "x" * 999]})["bytes"] == 0


def test_a_template_that_is_the_translation_interface_gets_the_bare_message(tmp_path, llama_case):
    # As models/training/publish.py writes it: the message, then the token behind which the model translates.
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}" + CONTROL[2]
    (prompt,) = (prompt for prompt in builtin_prompts("translation") if prompt.name == "message-only")
    message = render(prompt, "hello", [], {})
    bundle = write_text_bundle(tmp_path / "lm", llama_case, byte_level(), chat=template)
    with TextGenerator.load(bundle) as model:
        expected = model.generate_ids([[*model.encode("hello"), model.encode_chat(message)[-1]]], max_new_tokens=9)[0]
        assert model.decode([model.encode_chat(message)[-1]]) == ""
        assert answer_each(model, ask(message))["answers"][0]["text"] == model.decode(expected)
