"""Tiny GGUF models, converted from transformers' as llama.cpp's convert_hf_to_gguf.py does it.

Names come from the gguf package's own table; the rows of llama's queries and keys are moved, Gemma's norms hold the 1
that the network adds, GPT-2's matrices are turned to ``[out, in]``.
"""

import math

import gguf
import numpy as np

from tests.export.causal_lm_directories import BOS, CHAT_TEMPLATE, END_OF_TURN, EOS, make_tokenizer
from tests.gguf_files import write_gguf

ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gpt2": "gpt2", "gemma3_text": "gemma3"}


def save_gguf(path, model, kinds=None, extra=None, **changes):
    """Writes a model with the tokenizer of `make_tokenizer`.

    Args:
        path: Where to.
        model: Of `make_model`.
        kinds: The stored type of a tensor by name; F32 for the others.
        extra: More tensors by name.
        **changes: Metadata, ``__`` for a dot; None takes a key out.
    """
    config = model.config
    architecture = ARCHITECTURES[config.model_type]
    metadata = _sizes(config, architecture) | _tokenizer(config.vocab_size)
    metadata |= {name.replace("__", "."): value for name, value in changes.items()}
    metadata = {name: value for name, value in metadata.items() if value is not None}
    return write_gguf(path, metadata, convert(model) | (extra or {}), kinds, architecture)


def convert(model):
    """float32 arrays by GGUF name."""
    config = model.config
    architecture = ARCHITECTURES[config.model_type]
    code = next(code for code, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(code, config.num_hidden_layers)
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        base, _, suffix = name.rpartition(".")
        array = tensor.float().numpy()
        if architecture == "llama" and base.endswith(("q_proj", "k_proj")):
            array = permute(array, config.head_dim)
        if architecture == "gemma3" and base.endswith("norm"):
            array = array + 1
        if architecture == "gpt2" and base.endswith(("c_attn", "c_proj", "c_fc")) and suffix == "weight":
            array = array.T
        tensors[f"{names.get_name(base)}.{suffix}"] = np.ascontiguousarray(array)
    return tensors


def permute(rows, head_dim):
    """LlamaModel.permute of convert_hf_to_gguf.py: a head's halves become neighbours."""
    moved = [[head + half * head_dim // 2 + i for i in range(head_dim // 2) for half in range(2)]
             for head in range(0, len(rows), head_dim)]  # fmt: skip
    return rows[np.concatenate(moved)]


def llama3_factors(head_dim, theta, factor):
    """``rope_freqs.weight`` of Llama 3.1, as generate_extra_tensors of convert_hf_to_gguf.py calculates it."""
    factors = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * theta ** (i / head_dim)
        if wavelength < 8192 / 4:
            factors.append(1)
        elif wavelength > 8192:
            factors.append(factor)
        else:
            smooth = (8192 / wavelength - 1) / 3
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)


def _sizes(config, architecture):
    heads = config.num_attention_heads
    sizes = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "attention.head_count": heads,
    }
    if architecture == "gpt2":
        sizes |= {
            "feed_forward_length": config.n_inner or 4 * config.hidden_size,
            "attention.layer_norm_epsilon": config.layer_norm_epsilon,
        }
    else:
        sizes |= {
            "feed_forward_length": config.intermediate_size,
            "attention.head_count_kv": config.num_key_value_heads,
            "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
            "attention.key_length": getattr(config, "head_dim", None) or config.hidden_size // heads,
            "rope.freq_base": float(config.rope_theta),
        }
        sizes |= {"attention.value_length": sizes["attention.key_length"]}
    if architecture == "gemma3":
        sizes |= {"attention.sliding_window": config.sliding_window, "attention.sliding_window_pattern": 2}
    return {f"{architecture}.{name}": value for name, value in sizes.items()}


def _tokenizer(size):
    tokenizer = make_tokenizer()
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.get)
    kinds = [3 if token in (BOS, EOS, END_OF_TURN) else 1 for token in tokens]
    unused = [f"[PAD{index}]" for index in range(len(tokens), size)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens + unused,
        "tokenizer.ggml.token_type": kinds + [5] * len(unused),
        "tokenizer.ggml.merges": ["t h", "th e"],
        "tokenizer.ggml.bos_token_id": vocabulary[BOS],
        "tokenizer.ggml.eos_token_id": vocabulary[EOS],
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }
