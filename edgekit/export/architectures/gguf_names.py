"""What GGUF files call the weights of each architecture, beside the Hugging Face names in this folder.

Data only. Source: gguf's TENSOR_NAMES (gguf/constants.py). Matrices are ``[out, in]`` there as in torch, GPT-2's too;
Gemma's norms already hold the 1 that the network adds (convert_hf_to_gguf.py, Gemma3Model.norm_shift).
"""

from collections.abc import Mapping

from edgekit.export.architectures.decoder_weights import DecoderNames

_LLAMA = {
    "attention.norm": ("attn_norm",),
    "attention.qkv": ("attn_q", "attn_k", "attn_v"),
    "attention.output": ("attn_output",),
    "feed_forward.norm": ("ffn_norm",),
    "feed_forward.gate_up": ("ffn_gate", "ffn_up"),
    "feed_forward.down": ("ffn_down",),
}
_QWEN3 = _LLAMA | {"attention.query_norm": ("attn_q_norm",), "attention.key_norm": ("attn_k_norm",)}
_GEMMA3 = _QWEN3 | {
    "attention.post_norm": ("post_attention_norm",),
    "feed_forward.post_norm": ("post_ffw_norm",),
}
_GPT2 = {
    "attention.norm": ("attn_norm",),
    "attention.qkv": ("attn_qkv",),
    "attention.output": ("attn_output",),
    "feed_forward.norm": ("ffn_norm",),
    "feed_forward.up": ("ffn_up",),
    "feed_forward.down": ("ffn_down",),
}


def _names(parts: Mapping[str, tuple[str, ...]], positions: str | None = None) -> DecoderNames:
    return DecoderNames(
        embedding="token_embd",
        final_norm="output_norm",
        output="output",
        layer="blk.{layer}.",
        parts=parts,
        positions=positions,
        ignored=r"rope_freqs\.weight",  # part of the configuration
    )


GGUF_NAMES: Mapping[str, DecoderNames] = {
    "llama": _names(_LLAMA),
    "qwen2": _names(_LLAMA),
    "qwen3": _names(_QWEN3),
    "gemma3": _names(_GEMMA3),
    "gpt2": _names(_GPT2, "position_embd"),
}

# Parts that have a bias, and must; of the others it is taken where it is there.
BIASES: Mapping[str, frozenset[str]] = {
    "gpt2": frozenset(_GPT2) | {"final_norm"},
    "qwen2": frozenset({"attention.qkv"}),
}
