"""Gemma 3 text checkpoints (``model_type: gemma3_text``): config.json and names of tensors.

Llama's network with more norms (behind each block, and of queries and keys head by head), scaled embeddings, and local
layers that see a window of the last tokens and have rotary wavelengths of their own. Its norms multiply by one plus
their weight. Options, defaults and names follow configuration_gemma3.py and modeling_gemma3.py (transformers 4.57).
"""

from __future__ import annotations

import math
from typing import Any

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

OPTIONS = {
    "hidden_activation": tuple(ACTIVATIONS),
    "attention_bias": SWITCH,
    "final_logit_softcapping": (None,),
    "attn_logit_softcapping": (None,),
    "use_bidirectional_attention": (False, None),
}
HEAD_DIM = 256
SLIDING_WINDOW = 4096
# Every sixth layer sees all tokens, where neither layer_types nor sliding_window_pattern says otherwise.
PATTERN = 6
PARTS = {
    "attention.norm": ("input_layernorm",),
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.query_norm": ("self_attn.q_norm",),
    "attention.key_norm": ("self_attn.k_norm",),
    "attention.output": ("self_attn.o_proj",),
    "attention.post_norm": ("post_attention_layernorm",),
    "feed_forward.norm": ("pre_feedforward_layernorm",),
    "feed_forward.gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "feed_forward.down": ("mlp.down_proj",),
    "feed_forward.post_norm": ("post_feedforward_layernorm",),
}
NAMES = DecoderNames(
    prefix="model.",
    embedding="embed_tokens",
    final_norm="norm",
    output="lm_head",
    layer="layers.{layer}.",
    parts=PARTS,
    norm_offset=1.0,
)


def read_config(options: Options) -> CausalLMConfig:
    """The configuration that config.json declares.

    Raises:
        UnsupportedError: Values that are not implemented, all in one message.
        SourceError: A size or number is missing or is none.
    """
    full, local = _rope_parameters(options)
    problems = rope_problems(options, full) + rope_problems(options, local) + layer_type_problems(options)
    if isinstance(local, dict) and local.get("rope_type", "default") != "default":
        problems.append(f"rope_type={local['rope_type']!r:.120} of sliding_attention (expected 'default')")
    check_options(options, OPTIONS, problems)
    sizes = read_sizes(options, llama.SIZES, {"head_dim": HEAD_DIM})
    theta, scaling = read_rope(options, full, 1_000_000.0)
    layers = _local_layers(options, sizes["layers"])
    local_theta = read_number(local, "rope_theta", 1e4) if local else read_number(options, "rope_local_base_freq", 1e4)
    return CausalLMConfig(
        **sizes,
        **layers,
        model_type="gemma3_text",
        activation_function=ACTIVATIONS[options.get("hidden_activation", "gelu_pytorch_tanh")],
        gated_ffn=True,
        norm="rms",
        norm_epsilon=read_number(options, "rms_norm_eps", 1e-6),
        position="rotary",
        rope_theta=theta,
        rope_scaling=scaling,
        rotary_interleaved=False,
        embed_scale=math.sqrt(sizes["d_model"]),
        tied_output=options.get("tie_word_embeddings", True),
        query_key_norm=True,
        attention_scale=read_number(options, "query_pre_attn_scalar", 256) ** -0.5,
        post_norms=True,
        local_rope_theta=local_theta if layers["local_layers"] else None,
    )


def read_names(options: Options) -> DecoderNames:
    """What the checkpoint calls its weights."""
    return NAMES


def read_biases(options: Options) -> frozenset[str]:
    """Which parts of a layer have a bias."""
    return frozenset({"attention.qkv", "attention.output"} if options.get("attention_bias", False) else ())


def _rope_parameters(options: Options) -> tuple[Any, Any]:
    """Of the layers that see everything, and of the local ones, which transformers 5 has apart."""
    parameters = rope_parameters(options)
    if isinstance(parameters, dict) and "full_attention" in parameters:
        return parameters["full_attention"], parameters.get("sliding_attention")
    return parameters, None


def _local_layers(options: Options, layers: int) -> dict[str, Any]:
    names = {"window": "sliding_window", "pattern": "sliding_window_pattern"}
    found = read_sizes(options, names, {"window": SLIDING_WINDOW, "pattern": PATTERN})
    default = tuple(layer for layer in range(layers) if (layer + 1) % found["pattern"])
    return read_local_layers(options, found["window"], default)
