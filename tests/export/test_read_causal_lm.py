"""Decoder-only repositories to models: logits as transformers', whatever its weights are kept in."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from edgekit.errors import SourceError
from edgekit.export.read_causal_lm import ARCHITECTURES
from edgekit.export.sources.repository_files import CAUSAL_LM_TYPES
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
