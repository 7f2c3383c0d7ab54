"""Decoder-only repositories to models: logits as transformers', token ids, tokenizers, and what is refused."""

import json
import math
import random

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import processors
from transformers import AutoModelForCausalLM

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.read_causal_lm import ARCHITECTURES, read_causal_lm
from edgekit.export.sources.local_directory import read_directory
from edgekit.export.sources.repository_files import CAUSAL_LM_TYPES
from tests.export.causal_lm_directories import (
    CHAT_TEMPLATE,
    CONTEXT,
    VOCAB,
    change,
    make_model,
    make_tokenizer,
    save_checkpoint,
)
from tests.graph.causal_lm_session import CausalLMSession

IDS = np.random.default_rng(2).integers(0, VOCAB, CONTEXT)
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
VARIANTS = {
    "llama": ("llama", {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, biases everywhere": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, as many key heads": ("llama", {"num_key_value_heads": 4}),
    "llama, wide heads": ("llama", {"head_dim": 32}),
    "llama, gelu": ("llama", {"hidden_act": "gelu"}),
    "llama, scaled as Llama 3": ("llama", {"rope_scaling": {"rope_type": "llama3", **LLAMA3}, "rope_theta": 5e5}),
    "llama, scaled linearly": ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}),
    "llama, scaled as dynamic": ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
    "qwen2": ("qwen2", {}),
    "qwen2, tied, YaRN": (
        "qwen2",
        {
            "tie_word_embeddings": True,
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        },
    ),
    "qwen2, local layers": ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    "qwen3": ("qwen3", {}),
    "qwen3, biases, tied": ("qwen3", {"attention_bias": True, "tie_word_embeddings": True}),
    "gpt2": ("gpt2", {}),
    "gpt2, narrow, untied, gelu": (
        "gpt2",
        {"n_inner": 40, "tie_word_embeddings": False, "activation_function": "gelu"},
    ),
    "gemma3": ("gemma3_text", {}),
    "gemma3, layers named": (
        "gemma3_text",
        {"layer_types": ["full_attention", "sliding_attention"], "rope_scaling": {"rope_type": "linear", "factor": 8}},
    ),
    "gemma3, no local layers, biases": ("gemma3_text", {"sliding_window_pattern": 1, "attention_bias": True}),
}


def read(directory):
    return read_causal_lm(read_directory(directory, "tiny"))


def torch_logits(model, ids=IDS):
    with torch.no_grad():
        return model(torch.tensor(np.array(ids))[None]).logits[0].numpy()


def edgekit_logits(found, directory, ids=IDS):
    directory.mkdir(exist_ok=True)
    return CausalLMSession(directory, found.config, found.weights, capacity=CONTEXT).run([ids], every=True)


def assert_equal_logits(found, expected):
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


def test_every_type_that_a_directory_may_have_can_be_read():
    assert set(ARCHITECTURES) == set(CAUSAL_LM_TYPES)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_those_of_transformers(variant, tmp_path):
    model_type, options = VARIANTS[variant]
    model = make_model(model_type, **options)
    found = read(save_checkpoint(tmp_path, model))
    assert_equal_logits(edgekit_logits(found, tmp_path / "graph"), torch_logits(model))


@pytest.fixture(scope="module")
def llama():
    return make_model("llama")


@pytest.fixture
def repository(llama, tmp_path):
    return save_checkpoint(tmp_path / "tiny", llama)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype, tmp_path):
    found = read(save_checkpoint(tmp_path, make_model("qwen2"), dtype=dtype))
    # Loaded anew, since a model's own rotary frequencies are rounded with it.
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert_equal_logits(edgekit_logits(found, tmp_path / "graph"), torch_logits(model))


@pytest.mark.parametrize(
    ("model_type", "old", "new"),
    [
        ("llama", {"rope_theta": 500.0}, {"rope_theta": 500.0, "rope_type": "default"}),
        (
            "llama",
            {"rope_theta": 500.0, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
            {"rope_theta": 500.0, "rope_type": "llama3", **LLAMA3},
        ),
        (
            "gemma3_text",
            {"rope_theta": 900.0, "rope_local_base_freq": 70.0, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
            {
                "full_attention": {"rope_theta": 900.0, "rope_type": "linear", "factor": 4.0},
                "sliding_attention": {"rope_theta": 70.0, "rope_type": "default"},
            },
        ),
    ],
)
def test_rotary_options_in_the_spelling_of_transformers_5(model_type, old, new, tmp_path):
    directory = save_checkpoint(tmp_path, make_model(model_type, **old))
    expected = read(directory).config
    change(directory / "config.json", rope_theta=..., rope_scaling=..., rope_local_base_freq=..., rope_parameters=new)
    assert read(directory).config == expected
    assert (expected.rope_theta, expected.local_rope_theta) in ((500.0, None), (900.0, 70.0))


def test_sharded_weights_equal_the_whole(llama, repository, tmp_path):
    sharded = save_checkpoint(tmp_path / "sharded", llama, max_shard_size="20KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 3
    assert not (sharded / "model.safetensors").exists()
    whole, found = read(repository).weights, read(sharded).weights
    assert list(found) == list(whole)
    for name, weight in whole.items():
        np.testing.assert_array_equal(found[name], weight)


def test_pickled_weights_are_read_where_there_are_no_others(llama, repository):
    torch.save(llama.state_dict(), repository / "pytorch_model.bin")
    expected = dict(read(repository).weights)
    (repository / "model.safetensors").unlink()
    found = read(repository).weights
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_checkpoint_without_its_prefix_and_with_old_buffers_is_the_same_model(tmp_path):
    """openai-community/gpt2 was saved without its head, and with its masks."""
    model = make_model("gpt2")
    expected = read(save_checkpoint(tmp_path / "whole", model)).weights
    bare = save_checkpoint(tmp_path / "bare", model)
    state = {name.removeprefix("transformer."): tensor for name, tensor in model.transformer.state_dict().items()}
    buffers = {"h.0.attn.bias": torch.ones(1, 1, 4, 4), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    save_file(state | buffers, bare / "model.safetensors")
    found = read(bare).weights
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_weights_are_calculated_when_they_are_asked_for(repository):
    weights = read(repository).weights
    assert "layers.0.attention.qkv.weight" in weights
    assert "layers.2.attention.qkv.weight" not in weights
    assert weights["layers.0.attention.qkv.weight"] is not weights["layers.0.attention.qkv.weight"]


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


def test_unsupported_options_are_in_one_message(repository):
    change(
        repository / "config.json",
        hidden_act="relu",
        rope_scaling={"rope_type": "longrope", "factor": 2.0},
        partial_rotary_factor=0.5,
        quantization_config={"bits": 4},
    )
    with pytest.raises(
        UnsupportedError,
        match=r"unsupported llama options: quantization_config=\{'bits': 4\} \(expected None\); hidden_act='relu' "
        r"\(expected 'silu' or .*\); rope_type='longrope' \(expected .*\); partial_rotary_factor=0\.5 \(expected 1\)",
    ):
        read(repository)


@pytest.mark.parametrize(
    ("model_type", "options", "named"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ("gemma3_text", {"final_logit_softcapping": 30.0}, "final_logit_softcapping=30.0"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
        ("qwen2", {"layer_types": ["chunked_attention", "full_attention"]}, "layer_types="),
        ("qwen3", {"layer_types": ["full_attention"]}, "layer_types="),
        ("llama", {"rope_scaling": "linear"}, "rope_scaling='linear'"),
        ("llama", {"tie_word_embeddings": "yes"}, "tie_word_embeddings='yes'"),
    ],
)
def test_each_architecture_refuses_what_it_lacks_by_name(model_type, options, named, tmp_path):
    directory = save_checkpoint(tmp_path, make_model(model_type))
    change(directory / "config.json", **options)
    with pytest.raises(UnsupportedError, match=f"unsupported {model_type} options: {named}"):
        read(directory)


def test_search_options_that_edgekit_does_not_follow_are_refused_and_sampling_is_the_callers(repository):
    change(repository / "generation_config.json", do_sample=True, temperature=0.6, top_p=0.9, repetition_penalty=1.1)
    assert read(repository).generation.eos_token_ids == (259,)
    change(repository / "generation_config.json", suppress_tokens=[1, 2], min_length=5)
    with pytest.raises(
        UnsupportedError, match=r"unsupported generation options: min_length=5; suppress_tokens=\[1, 2\]; remove them"
    ):
        read(repository)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"hidden_size": None, "vocab_size": "many"}, "hidden_size=None, vocab_size='many'"),
        ({"num_hidden_layers": 10**9}, r"num_hidden_layers=1000000000 \(expected at most 1024\)"),
        ({"max_position_embeddings": 1 << 21}, r"max_position_embeddings=2097152 \(expected at most 1048576\)"),
        ({"num_attention_heads": 0, "intermediate_size": True}, "num_attention_heads=0, .*intermediate_size=True"),
        ({"num_attention_heads": -4, "hidden_size": 3.5}, r"hidden_size=3\.5, num_attention_heads=-4"),
    ],
)
def test_sizes_that_are_none_are_refused_at_once(repository, options, named):
    change(repository / "config.json", num_key_value_heads=2, head_dim=8)
    change(repository / "config.json", **options)
    with pytest.raises(
        SourceError, match=f"expected a whole number above 0 for each size, found .*{named}.* llama che"
    ):
        read(repository)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rms_norm_eps": "small"}, "expected a number above 0 for rms_norm_eps, found 'small'"),
        ({"rms_norm_eps": float("inf")}, "expected a number above 0 for rms_norm_eps, found inf"),
        ({"rope_theta": -1.0}, r"expected a number above 0 for rope_theta, found -1\.0"),
        ({"num_key_value_heads": 3}, "num_key_value_heads=3 does not divide|key_value_heads=3 does not divide"),
        ({"head_dim": 7}, r"head_dim=7 \(expected a multiple of 16\)"),
    ],
)
def test_values_that_make_no_model_are_refused(repository, options, message):
    change(repository / "config.json", **options)
    with pytest.raises((SourceError, UnsupportedError), match=message):
        read(repository)


def test_tensors_that_are_missing_misshapen_and_left_over_are_in_one_message(repository, llama):
    state = llama.state_dict()
    del state["model.layers.1.mlp.up_proj.weight"]
    state["model.norm.weight"] = torch.ones(31)
    state["model.layers.0.self_attn.q_proj.bias"] = torch.ones(64)
    state["model.layers.0.self_attn.o_proj.weight"] = torch.full((64, 64), torch.nan)
    state["model.layers.0.input_layernorm.weight"] = torch.ones(64, dtype=torch.int32)
    save_file(state, repository / "model.safetensors")
    with pytest.raises(SourceError) as error:
        read(repository)
    for problem in (
        "model.norm.weight is [31], expected [64]",
        "model.layers.1.mlp.up_proj.weight is missing",
        "model.layers.0.self_attn.q_proj.bias is not a tensor of llama",
        "layers.0.self_attn.o_proj.weight holds values that are not finite numbers",
        "layers.0.input_layernorm.weight holds values that are not finite numbers",
    ):
        assert problem in str(error.value)


def test_many_missing_tensors_are_counted(repository):
    change(repository / "config.json", num_hidden_layers=40)
    with pytest.raises(SourceError, match=r"layers\.2\.input_layernorm\.weight is missing; .*; and \d+ more"):
        read(repository)


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


def test_shards_that_do_not_fit_their_index_are_refused(llama, tmp_path):
    directory = save_checkpoint(tmp_path, llama, max_shard_size="20KB")
    index = directory / "model.safetensors.index.json"
    stated = json.loads(index.read_text())["weight_map"]
    files = sorted(set(stated.values()))
    name = next(name for name, file in stated.items() if file == files[0])
    change(index, weight_map={**stated, name: files[1], "model.new.weight": files[0]})
    with pytest.raises(SourceError, match=rf"other tensors than it says: {name} \(in {files[0]}\), model\.new\.weight"):
        read(directory)
    change(index, weight_map={**stated, "again": "copy.safetensors"})
    (directory / "copy.safetensors").write_bytes((directory / files[0]).read_bytes())
    with pytest.raises(SourceError, match=rf"is in two of its files, .*{files[0]}"):
        read(directory)


ODD_VALUES = [None, True, -1, 0, 2**40, 1e300, math.inf, math.nan, "x", [], [[1]], {}, {"a": 1}, 0.5]
ODD_KEYS = [
    "rope_scaling",
    "rope_parameters",
    "layer_types",
    "sliding_window",
    "head_dim",
    "chat_template",
    "eos_token",
]


@pytest.mark.parametrize("model_type", ["qwen2", "gemma3_text"])
def test_odd_values_give_a_model_or_one_line(model_type, tmp_path):
    directory = save_checkpoint(tmp_path, make_model(model_type))
    chosen = random.Random(0)
    messages = []
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        path = directory / name
        whole = path.read_text(encoding="utf-8")
        for _ in range(80):
            path.write_text(whole, encoding="utf-8")
            change(path, **{chosen.choice([*json.loads(whole), *ODD_KEYS]): chosen.choice(ODD_VALUES)})
            try:
                read(directory)
            except (SourceError, UnsupportedError) as error:
                messages.append(str(error))
        path.write_text(whole, encoding="utf-8")
    assert len(messages) > 40
    assert not any("\n" in message or len(message) > 1500 for message in messages)
