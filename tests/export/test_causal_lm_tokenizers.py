"""Decoder-only repositories: token ids, tokenizers and chat templates, where they come from and what is refused."""

import pytest
from tokenizers import processors

from edgekit.errors import SourceError, UnsupportedError
from tests.export.causal_lm_directories import (
    CHAT_TEMPLATE,
    CONTEXT,
    VOCAB,
    change,
    make_tokenizer,
    read,
    save_checkpoint,
)


def test_token_ids_come_from_the_configuration(repository):
    (repository / "generation_config.json").unlink()
    generation = read(repository).generation
    assert (generation.bos_token_id, generation.eos_token_ids, generation.pad_token_id) == (258, (259,), None)
    assert (generation.context_length, generation.adds_bos) == (CONTEXT, False)


def test_several_ends_and_padding_come_from_generation_config(repository):
    change(repository / "generation_config.json", eos_token_id=[259, 260, 259], pad_token_id=7, temperature=0.7)
    generation = read(repository).generation
    assert (generation.eos_token_ids, generation.pad_token_id) == ((259, 260), 7)


def test_token_ids_that_no_file_states_are_the_tokenizers(repository):
    (repository / "generation_config.json").unlink()
    change(repository / "config.json", bos_token_id=..., eos_token_id=...)
    generation = read(repository).generation
    assert (generation.bos_token_id, generation.eos_token_ids) == (258, (259,))


def test_a_model_may_have_no_end(repository):
    (repository / "generation_config.json").unlink()
    change(repository / "config.json", eos_token_id=None)
    change(repository / "tokenizer_config.json", eos_token=None)
    assert read(repository).generation.eos_token_ids == ()


@pytest.mark.parametrize("pad", [-1, VOCAB])
def test_padding_outside_the_vocabulary_is_none(repository, pad):
    change(repository / "generation_config.json", pad_token_id=pad)
    assert read(repository).generation.pad_token_id is None


@pytest.mark.parametrize(
    ("ids", "named"),
    [
        ({"eos_token_id": VOCAB}, "eos_token_id=300"),
        ({"eos_token_id": [259, "x"]}, "eos_token_id='x'"),
        ({"eos_token_id": -1, "bos_token_id": [1]}, r"eos_token_id=-1, bos_token_id=\[1\]"),
    ],
)
def test_token_ids_outside_the_vocabulary_are_refused(repository, ids, named):
    change(repository / "generation_config.json", **ids)
    with pytest.raises(SourceError, match=f"expected ids below the vocabulary's 300, found {named}"):
        read(repository)


def test_a_tokenizer_that_begins_texts_with_bos_says_so(llama, tmp_path):
    found = read(save_checkpoint(tmp_path, llama, adds_bos=True))
    assert (found.generation.adds_bos, found.generation.bos_token_id) == (True, 258)


@pytest.mark.parametrize(("stated", "adds_bos"), [({}, True), ({"add_bos_token": False}, False)])
def test_llamas_tokenizer_class_adds_bos_as_its_configuration_says(llama, tmp_path, stated, adds_bos):
    directory = save_checkpoint(tmp_path, llama, adds_bos=not adds_bos)
    change(directory / "tokenizer_config.json", tokenizer_class="LlamaTokenizerFast", **stated)
    assert read(directory).generation.adds_bos is adds_bos


def test_the_tokenizer_and_its_special_tokens_are_kept(repository):
    change(repository / "special_tokens_map.json", unk_token="<|end|>", eos_token="<|turn|>")
    found = read(repository)
    assert found.tokenizer_json == (repository / "tokenizer.json").read_text(encoding="utf-8")
    assert found.vocab_size == VOCAB
    # tokenizer_config.json goes before special_tokens_map.json.
    assert found.special_tokens == {"bos_token": "<|bos|>", "eos_token": "<|end|>", "unk_token": "<|end|>"}


def test_the_chat_template_is_in_tokenizer_config_or_in_a_file_of_its_own(repository):
    assert read(repository).chat_template == CHAT_TEMPLATE
    (repository / "chat_template.jinja").write_text("{{ messages[0].content }}\n", encoding="utf-8")
    assert read(repository).chat_template == "{{ messages[0].content }}\n"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ([{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}], "a"),
        ([{"name": "rag", "template": "b"}], None),
        (None, None),
        ("", None),
    ],
)
def test_of_several_templates_the_default_one_is_meant(repository, template, expected):
    change(repository / "tokenizer_config.json", chat_template=template)
    assert read(repository).chat_template == expected


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(repository):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"word{i}" for i in range(50)])
    tokenizer.save(str(repository / "tokenizer.json"))
    with pytest.raises(SourceError, match="expected token ids below 300, the rows of the model's embedding, found 310"):
        read(repository)


def test_control_tokens_that_the_model_lacks_do_no_harm(repository):
    """Gemma 3's tokenizer has one for images, which its text model has no row for."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens([f"<|image{i}|>" for i in range(50)])
    tokenizer.save(str(repository / "tokenizer.json"))
    change(repository / "tokenizer_config.json", mask_token="<|image49|>")
    assert read(repository).generation.eos_token_ids == (259,)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": {"type": "BPE"}}', "[" * 5000])
def test_a_damaged_tokenizer_is_refused(repository, content):
    (repository / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(
        SourceError, match=r"tokenizer\.json: expected a tokenizer that the tokenizers library loads, f"
    ):
        read(repository)


def test_a_tokenizer_that_ends_every_text_is_refused(repository):
    tokenizer = make_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        "<|bos|> $A <|end|>", "<|bos|> $A <|end|> $B <|end|>", [("<|bos|>", 258), ("<|end|>", 259)]
    )
    tokenizer.save(str(repository / "tokenizer.json"))
    with pytest.raises(UnsupportedError, match=r"that adds BOS to a text or nothing, found ids \[258, 259\]"):
        read(repository)
    change(repository / "tokenizer_config.json", tokenizer_class="LlamaTokenizer", add_eos_token=True)
    with pytest.raises(UnsupportedError, match=r"add_eos_token=True \(expected False\)"):
        read(repository)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{{", "expected a chat template in UTF-8"),
        (b"x" * (1 << 21), "of at most 1048576 bytes, found 2097152"),
    ],
)
def test_a_chat_template_that_is_none_is_refused(repository, content, message):
    (repository / "chat_template.jinja").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read(repository)


def test_a_template_of_another_type_is_refused(repository):
    change(repository / "tokenizer_config.json", chat_template={"a": 1})
    with pytest.raises(
        SourceError, match="expected chat_template to be a text of at most 1048576 characters, found dict"
    ):
        read(repository)
