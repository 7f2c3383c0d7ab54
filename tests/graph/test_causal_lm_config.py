import dataclasses
import json

import numpy as np
import pytest

from edgekit.bundle.manifest import TensorQuantization
from edgekit.errors import BundleError, SourceError, UnsupportedError
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.rotary import rotary_tables
from edgekit.graph.weights_file import WEIGHTS_FILE, load_weights, save_weights

GOOD = CausalLMConfig(
    model_type="llama",
    d_model=48,
    layers=2,
    attention_heads=4,
    key_value_heads=2,
    head_dim=16,
    ffn_dim=80,
    activation_function="swish",
    gated_ffn=True,
    norm="rms",
    norm_epsilon=1e-5,
    position="rotary",
    rope_theta=10000.0,
    rope_scaling=None,
    rotary_interleaved=False,
    vocab_size=97,
    context_length=8,
    embed_scale=1.0,
    tied_output=True,
    query_key_norm=False,
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"local_layers": (0,), "local_window": 4, "local_rope_theta": 100.0, "attention_scale": 0.2},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"position": "learned", "rope_theta": 0.0, "head_dim": 24},
    ],
)
def test_a_configuration_survives_the_manifest(changes):
    config = dataclasses.replace(GOOD, **changes)
    assert CausalLMConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_missing_and_unknown_fields_are_named():
    values = GOOD.to_dict() | {"experts": 8}
    del values["layers"]
    with pytest.raises(
        UnsupportedError, match="not a decoder-only architecture of this edgekit: check experts, layers"
    ):
        CausalLMConfig.from_dict(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"activation_function": "relu", "layers": 0},
            r"activation_function='relu' \(expected one of swish, gelu, gelu_tanh\); layers=0 \(expected a",
        ),
        ({"norm": "batch"}, r"norm='batch' \(expected one of rms, layer\)"),
        ({"position": "alibi"}, r"position='alibi' \(expected one of rotary, learned\)"),
        ({"d_model": 48.0}, r"d_model=48.0 \(expected a whole number above 0\)"),
        ({"norm_epsilon": 0.0}, r"norm_epsilon=0.0 \(expected a number above 0\)"),
        ({"rope_theta": 0.0}, r"rope_theta=0.0 \(expected a number above 0\)"),
        ({"embed_scale": float("nan")}, r"embed_scale=nan \(expected a number above 0\)"),
        ({"attention_scale": -1.0}, r"attention_scale=-1.0 \(expected a number above 0\)"),
        ({"gated_ffn": 1}, r"gated_ffn=1 \(expected true or false\)"),
        ({"rope_scaling": 2.0}, r"rope_scaling=2.0 \(expected an object or null\)"),
        ({"local_layers": ("0",)}, r"local_layers=\('0',\) \(expected whole numbers\)"),
        ({"context_length": 1 << 21}, r"context_length=2097152 \(expected at most 1048576\)"),
        ({"vocab_size": 1 << 25}, r"vocab_size=33554432 \(expected at most 16777216\)"),
        ({"key_value_heads": 3}, "key_value_heads=3 does not divide attention_heads=4"),
        ({"head_dim": 24}, r"head_dim=24 \(expected a multiple of 16\)"),
        ({"head_dim": 12, "position": "learned"}, r"head_dim=12 \(expected a multiple of 8\)"),
        ({"position": "learned", "rope_scaling": {}}, "rope_scaling without rotary positions"),
        ({"local_layers": (0,)}, r"local_layers=\[0\] with local_window=None"),
        ({"local_layers": (2,), "local_window": 4}, r"local_layers=\[2\] \(expected layers below 2\)"),
    ],
)
def test_what_no_graph_has_is_refused_by_name(changes, message):
    with pytest.raises(UnsupportedError, match=rf"^unsupported llama configuration: {message}"):
        dataclasses.replace(GOOD, **changes)


def test_rotary_tables_hold_the_angles_of_each_position():
    tables = rotary_tables(GOOD)
    assert {name: (table.shape, table.dtype) for name, table in tables.items()} == {
        "rotary.cos": ((8, 8), np.float32),
        "rotary.sin": ((8, 8), np.float32),
    }
    np.testing.assert_allclose(tables["rotary.cos"][0], 1)
    # Pair 4 of 8 turns by 10000 ** (-8 / 16) = 0.01 a position.
    np.testing.assert_allclose(tables["rotary.sin"][5, 4], np.sin(0.05), rtol=1e-6)


def test_local_layers_have_tables_of_their_own_base():
    config = dataclasses.replace(GOOD, local_layers=(0,), local_window=4, local_rope_theta=16.0)
    tables = rotary_tables(config)
    np.testing.assert_allclose(tables["rotary.local_cos"][3, 4], np.cos(3 / 4), rtol=1e-6)
    np.testing.assert_allclose(tables["rotary.cos"][3, 4], np.cos(0.03), rtol=1e-6)


def test_learned_positions_need_no_tables():
    assert rotary_tables(dataclasses.replace(GOOD, position="learned", rope_theta=0.0)) == {}


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        (
            {"rope_type": "longrope"},
            "rope_scaling of type 'longrope' .expected one of default, dynamic, linear, llama3",
        ),
        ({"type": "su"}, "rope_scaling of type 'su'"),
        ({"rope_type": "linear"}, "rope_scaling of type linear needs factor above 0"),
        ({"rope_type": "linear", "factor": "4"}, "rope_scaling of type linear needs factor above 0"),
        (
            {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 0},
            "llama3 needs low_freq_factor, high_freq_factor, original_max_position_embeddings above 0",
        ),
    ],
)
def test_a_scaling_without_tables_is_refused_by_name(scaling, message):
    with pytest.raises(UnsupportedError, match=message):
        rotary_tables(dataclasses.replace(GOOD, rope_scaling=scaling))


def test_a_file_without_a_tensor_that_the_manifest_names_is_refused(tmp_path):
    save_weights(tmp_path, {"embedding.weight": np.zeros((4, 32), np.int8)})
    entry = TensorQuantization("uint4", "embedding.weight_scale", "per-block", 32)
    with pytest.raises(BundleError, match=r"the manifest names tensors that it lacks: embedding.weight_scale; export"):
        load_weights(tmp_path / WEIGHTS_FILE, {"embedding.weight": entry})


def test_blocks_that_do_not_fit_their_shape_are_refused(tmp_path):
    arrays = {"a.weight": np.zeros((4, 2, 16), np.float32), "a.weight_scale": np.zeros((4, 2), np.float32)}
    save_weights(tmp_path, arrays)
    entry = TensorQuantization("uint4", "a.weight_scale", "per-block", 32)
    with pytest.raises(SourceError, match="values must be an array of uint8"):
        load_weights(tmp_path / WEIGHTS_FILE, {"a.weight": entry}, {"a.weight": (64, 4)})
