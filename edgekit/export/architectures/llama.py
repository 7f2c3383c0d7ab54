"""Llama checkpoints (``model_type: llama``: Llama, SmolLM2, TinyLlama): config.json and names of tensors.

A pre-norm decoder with RMS norms, rotary positions, a gated feed-forward block and grouped keys and values. Options,
defaults and names follow transformers/models/llama/configuration_llama.py and modeling_llama.py (4.57).
"""

from __future__ import annotations

from edgekit.export.architectures.decoder_options import (
    ACTIVATIONS,
    SWITCH,
    Options,
    check_options,
    read_number,
    read_rope,
    read_sizes,
    rope_parameters,
    rope_problems,
)
from edgekit.export.architectures.decoder_weights import DecoderNames
from edgekit.graph.causal_lm_config import CausalLMConfig

SIZES = {
    "d_model": "hidden_size",
    "layers": "num_hidden_layers",
    "attention_heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "ffn_dim": "intermediate_size",
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
}
OPTIONS = {"hidden_act": tuple(ACTIVATIONS), "attention_bias": SWITCH, "mlp_bias": SWITCH}
PARTS = {
    "attention.norm": ("input_layernorm",),
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.output": ("self_attn.o_proj",),
    "feed_forward.norm": ("post_attention_layernorm",),
    "feed_forward.gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "feed_forward.down": ("mlp.down_proj",),
}
NAMES = DecoderNames(
    prefix="model.",
    embedding="embed_tokens",
    final_norm="norm",
    output="lm_head",
    layer="layers.{layer}.",
    parts=PARTS,
    ignored=r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",  # a buffer that transformers kept until 4.32
)


def read_config(options: Options) -> CausalLMConfig:
    """The configuration that config.json declares.

    Raises:
        UnsupportedError: Values that are not implemented, all in one message.
        SourceError: A size or number is missing or is none.
    """
    parameters = rope_parameters(options)
    check_options(options, OPTIONS, rope_problems(options, parameters))
    sizes = read_sizes(options, SIZES, size_defaults(options))
    theta, scaling = read_rope(options, parameters, 10_000.0)
    return CausalLMConfig(
        **sizes,
        model_type="llama",
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
        query_key_norm=False,
    )


def read_names(options: Options) -> DecoderNames:
    """What the checkpoint calls its weights."""
    return NAMES


def read_biases(options: Options) -> frozenset[str]:
    """Which parts of a layer have a bias."""
    biases = {"attention.qkv", "attention.output"} if options.get("attention_bias", False) else set()
    return frozenset(biases | ({"feed_forward.gate_up", "feed_forward.down"} if options.get("mlp_bias") else set()))


def size_defaults(options: Options) -> dict[str, int | None]:
    """As many heads for keys as for queries, and heads that share the width: LlamaConfig's own rules."""
    heads, width = options.get("num_attention_heads"), options.get("hidden_size")
    head_dim = width // heads if type(heads) is int and type(width) is int and heads > 0 else None
    return {"key_value_heads": heads, "head_dim": head_dim}
