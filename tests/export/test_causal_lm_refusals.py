"""Decoder-only repositories that make no model edgekit knows: each is refused by name, in one line."""

import json
import math
import random

import pytest
import torch
from safetensors.torch import save_file

from edgekit.errors import SourceError, UnsupportedError
from tests.export.causal_lm_directories import change, make_model, read, save_checkpoint


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
