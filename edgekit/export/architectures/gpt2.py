"""GPT-2 checkpoints (``model_type: gpt2``: GPT-2, DistilGPT-2): config.json and names of tensors.

A pre-norm decoder with layer norms, learned positions and biases everywhere. Matrices are stored ``[in, out]``, since
the network calls them convolutions (Conv1D). Options, defaults and names follow configuration_gpt2.py and
modeling_gpt2.py (transformers 4.57).
"""

from __future__ import annotations

from edgekit.export.architectures.decoder_options import (
    ACTIVATIONS,
    Options,
    check_options,
    read_number,
    read_sizes,
)
from edgekit.export.architectures.decoder_weights import DecoderNames
from edgekit.graph.causal_lm_config import CausalLMConfig

SIZES = {
    "d_model": "n_embd",
    "layers": "n_layer",
    "attention_heads": "n_head",
    "ffn_dim": "n_inner",
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
}
OPTIONS = {
    "activation_function": tuple(ACTIVATIONS),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
}
PARTS = {
    "attention.norm": ("ln_1",),
    "attention.qkv": ("attn.c_attn",),
    "attention.output": ("attn.c_proj",),
    "feed_forward.norm": ("ln_2",),
    "feed_forward.up": ("mlp.c_fc",),
    "feed_forward.down": ("mlp.c_proj",),
}
NAMES = DecoderNames(
    prefix="transformer.",
    embedding="wte",
    positions="wpe",
    final_norm="ln_f",
    output="lm_head",
    layer="h.{layer}.",
    parts=PARTS,
    ignored=r"h\.\d+\.attn\.(masked_)?bias",  # buffers: the causal mask
    transposed=True,
)


def read_config(options: Options) -> CausalLMConfig:
    """The configuration that config.json declares.

    Raises:
        UnsupportedError: Values that are not implemented, all in one message.
        SourceError: A size or number is missing or is none.
    """
    check_options(options, OPTIONS, [])
    width = options.get("n_embd")
    sizes = read_sizes(options, SIZES, {"ffn_dim": 4 * width if type(width) is int else None})
    return CausalLMConfig(
        **sizes,
        key_value_heads=sizes["attention_heads"],
        head_dim=max(1, sizes["d_model"] // sizes["attention_heads"]),
        model_type="gpt2",
        activation_function=ACTIVATIONS[options.get("activation_function", "gelu_new")],
        gated_ffn=False,
        norm="layer",
        norm_epsilon=read_number(options, "layer_norm_epsilon", 1e-5),
        position="learned",
        rope_theta=0.0,
        rope_scaling=None,
        rotary_interleaved=False,
        embed_scale=1.0,
        tied_output=options.get("tie_word_embeddings", True),
        query_key_norm=False,
    )


def read_names(options: Options) -> DecoderNames:
    """What the checkpoint calls its weights."""
    return NAMES


def read_biases(options: Options) -> frozenset[str]:
    """Everything has one."""
    return frozenset(PARTS) | {"final_norm"}
