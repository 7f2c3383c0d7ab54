"""Decoder-only repositories to models: logits as transformers', whatever its weights are kept in."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from edgekit.errors import SourceError
from edgekit.export.read_causal_lm import ARCHITECTURES
from edgekit.export.sources.repository_files import CAUSAL_LM_TYPES
from edgekit.graph.check import logits_difference
from edgekit.quantize.scheme import named_scheme
from edgekit.quantize.weights import quantize_weights
from tests.export.causal_lm_directories import CONTEXT, VOCAB, change, make_model, read, save_checkpoint
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
    "qwen2, layers named, as many key heads": (
        "qwen2",
        {
            "layer_types": ["sliding_attention", "full_attention"],
            "use_sliding_window": True,
            "sliding_window": 6,
            "num_key_value_heads": 4,
        },
    ),
    "qwen2, one key head, gelu, longer waves": (
        "qwen2",
        {"num_key_value_heads": 1, "hidden_act": "gelu", "rope_theta": 1e6},
    ),
    "qwen2, three layers, scaled as Llama 3": (
        "qwen2",
        {"num_hidden_layers": 3, "rms_norm_eps": 1e-3, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
    ),
    "qwen3": ("qwen3", {}),
    "qwen3, biases, tied": ("qwen3", {"attention_bias": True, "tie_word_embeddings": True}),
    "qwen3, local layers": ("qwen3", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    "qwen3, narrow heads, tanh gelu": ("qwen3", {"head_dim": 16, "hidden_act": "gelu_pytorch_tanh"}),
    "qwen3, as many key heads, scaled linearly": (
        "qwen3",
        {"num_key_value_heads": 4, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    ),
    "qwen3, one key head, three layers, longer waves": (
        "qwen3",
        {"num_key_value_heads": 1, "num_hidden_layers": 3, "rope_theta": 1e6, "rms_norm_eps": 1e-3},
    ),
    "gpt2": ("gpt2", {}),
    "gpt2, narrow, untied, gelu": (
        "gpt2",
        {"n_inner": 40, "tie_word_embeddings": False, "activation_function": "gelu"},
    ),
    "gpt2, many heads, three layers": ("gpt2", {"n_head": 8, "n_layer": 3}),
    "gpt2, one head, untied": ("gpt2", {"n_head": 1, "tie_word_embeddings": False}),
    "gpt2, tanh gelu, large epsilon": (
        "gpt2",
        {"activation_function": "gelu_pytorch_tanh", "layer_norm_epsilon": 1e-2},
    ),
    "gpt2, swish, other width": ("gpt2", {"activation_function": "silu", "n_embd": 96, "n_inner": 160}),
    "gemma3_text": ("gemma3_text", {}),
    "gemma3_text, layers named": (
        "gemma3_text",
        {"layer_types": ["full_attention", "sliding_attention"], "rope_scaling": {"rope_type": "linear", "factor": 8}},
    ),
    "gemma3_text, no local layers, biases": ("gemma3_text", {"sliding_window_pattern": 1, "attention_bias": True}),
    "gemma3_text, untied, gelu, one key head": (
        "gemma3_text",
        {"tie_word_embeddings": False, "hidden_activation": "gelu", "num_key_value_heads": 1},
    ),
    "gemma3_text, three layers, both waves others": (
        "gemma3_text",
        {
            "num_hidden_layers": 3,
            "sliding_window": 3,
            "sliding_window_pattern": 3,
            "rope_theta": 900.0,
            "rope_local_base_freq": 70.0,
        },
    ),
    "gemma3_text, narrow heads, as many of keys, other scale": (
        "gemma3_text",
        {"head_dim": 16, "num_key_value_heads": 4, "query_pre_attn_scalar": 64, "rms_norm_eps": 1e-3},
    ),
}
CONFIGURATIONS_OF = Counter(model_type for model_type, _ in VARIANTS.values())
# int8: root mean square difference of the logits as a share of their spread.
CLOSE = 0.1
PROMPT, NEW_TOKENS = 8, 16


def torch_logits(model, ids=IDS):
    with torch.no_grad():
        return model(torch.tensor(np.array(ids))[None]).logits[0].numpy()


def edgekit_session(config, weights, directory, precision="fp32"):
    directory.mkdir(exist_ok=True)
    return CausalLMSession(directory, config, weights, precision, capacity=CONTEXT)


def edgekit_logits(found, directory, ids=IDS):
    return edgekit_session(found.config, found.weights, directory).run([ids], every=True)


def assert_equal_logits(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4 * expected.std())


def test_every_type_that_a_directory_may_have_can_be_read():
    assert set(ARCHITECTURES) == set(CAUSAL_LM_TYPES)


def test_every_architecture_has_six_configurations():
    assert CONFIGURATIONS_OF.keys() == ARCHITECTURES.keys()
    assert min(CONFIGURATIONS_OF.values()) >= 6


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_greedy_ids_equal_those_of_transformers_and_int8_is_close(variant, tmp_path):
    model_type, options = VARIANTS[variant]
    model = make_model(model_type, **options)
    found = read(save_checkpoint(tmp_path, model))
    expected = torch_logits(model)
    session = edgekit_session(found.config, found.weights, tmp_path / "fp32")
    assert_equal_logits(session.run([IDS], every=True), expected)
    ids, logits = greedy_search(session)
    steps = torch_logits(model, [*IDS[:PROMPT], *ids])[PROMPT - 1 : -1]
    assert_equal_logits(logits, steps)
    assert ids == steps.argmax(axis=1).tolist()  # so transformers would have gone on with each of them
    weights = quantize_weights(found.weights, named_scheme("causal-lm", "int8"))
    logits = edgekit_session(found.config, weights, tmp_path / "int8", "int8").run([IDS], every=True)
    assert 0 < logits_difference(logits, expected) < CLOSE


def greedy_search(session):
    """What the graph goes on with, the prompt at once, then one id at a time; and the logits of each."""
    session.start(1, CONTEXT)
    ids, logits = [], [session.run([IDS[:PROMPT]])[0]]
    while len(ids) < NEW_TOKENS - 1:
        ids.append(int(logits[-1].argmax()))
        logits.append(session.run([ids[-1:]])[0])
    return [*ids, int(logits[-1].argmax())], np.stack(logits)


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
