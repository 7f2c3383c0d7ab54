"""Qwen2, Qwen2.5 and Qwen3 checkpoints (``model_type: qwen2`` or ``qwen3``): config.json and names of tensors.

Llama's network; Qwen2 has biases on queries, keys and values, Qwen3 normalises queries and keys head by head instead.
Some layers may see a window of the last tokens only. Options, defaults and names follow configuration_qwen2.py,
configuration_qwen3.py and the models beside them (transformers 4.57).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgekit.errors import SourceError
from edgekit.export.architectures import llama
from edgekit.export.architectures.decoder_options import (
    ACTIVATIONS,
    SWITCH,
    Options,
    check_options,
    layer_type_problems,
    read_local_layers,
    read_number,
    read_rope,
    read_sizes,
    rope_parameters,
    rope_problems,
)
from edgekit.export.architectures.decoder_weights import DecoderNames
from edgekit.graph.causal_lm_config import CausalLMConfig

OPTIONS = {"hidden_act": tuple(ACTIVATIONS), "use_sliding_window": SWITCH}
QWEN3_OPTIONS = {**OPTIONS, "attention_bias": SWITCH}
QWEN3_HEAD_DIM = 128
SLIDING_WINDOW = 4096
MAX_WINDOW_LAYERS = 28
QWEN3_NORMS = {"attention.query_norm": ("self_attn.q_norm",), "attention.key_norm": ("self_attn.k_norm",)}


def read_config(options: Options) -> CausalLMConfig:
    """The configuration that config.json declares.

    Raises:
        UnsupportedError: Values that are not implemented, all in one message.
        SourceError: A size or number is missing or is none.
    """
    parameters = rope_parameters(options)
    problems = rope_problems(options, parameters) + layer_type_problems(options)
    check_options(options, QWEN3_OPTIONS if _is_qwen3(options) else OPTIONS, problems)
    defaults = llama.size_defaults(options) | ({"head_dim": QWEN3_HEAD_DIM} if _is_qwen3(options) else {})
    sizes = read_sizes(options, llama.SIZES, defaults)
    theta, scaling = read_rope(options, parameters, 10_000.0)
    return CausalLMConfig(
        **sizes,
        **_local_layers(options, sizes["layers"]),
        model_type=options["model_type"],
        activation_function=ACTIVATIONS[options.get("hidden_act", "silu")],
        gated_ffn=True,
        norm="rms",
        norm_epsilon=read_number(options, "rms_norm_eps", 1e-6),
        position="rotary",
        rope_theta=theta,
        rope_scaling=scaling,
        rotary_interleaved=False,
        embed_scale=1.0,
        tied_output=options.get("tie_word_embeddings", False),
        query_key_norm=_is_qwen3(options),
    )


def read_names(options: Options) -> DecoderNames:
    """What the checkpoint calls its weights."""
    return replace(llama.NAMES, parts={**llama.PARTS, **QWEN3_NORMS}) if _is_qwen3(options) else llama.NAMES


def read_biases(options: Options) -> frozenset[str]:
    """Which parts of a layer have a bias."""
    if not _is_qwen3(options):
        return frozenset({"attention.qkv"})
    return frozenset({"attention.qkv", "attention.output"} if options.get("attention_bias", False) else ())


def _is_qwen3(options: Options) -> bool:
    return bool(options["model_type"] == "qwen3")


def _local_layers(options: Options, layers: int) -> dict[str, Any]:
    """The layers from ``max_window_layers`` on are local, and none unless ``use_sliding_window`` says so."""
    if not options.get("use_sliding_window", False) or options.get("sliding_window", SLIDING_WINDOW) is None:
        return read_local_layers(options, None, ())
    first = options.get("max_window_layers", MAX_WINDOW_LAYERS)
    if type(first) is not int or first < 0:
        raise SourceError(f"config.json: expected a whole number for max_window_layers, found {first!r:.120}")
    window = read_sizes(options, {"window": "sliding_window"}, {"window": SLIDING_WINDOW})["window"]
    return read_local_layers(options, window, tuple(range(first, layers)))
