"""T5 checkpoints (``t5``, ``mt5``: T5, T5 1.1, FLAN-T5, mT5): config.json and names of tensors.

Pre-norm layers with RMS norms and no biases, attention without scaling, a bias by distance in self-attention. Options,
defaults and names follow transformers/models/t5/configuration_t5.py and modeling_t5.py (4.57, and 5 where it differs).
A position is no weight here: `MOST_POSITIONS` only bounds what is calculated for.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from edgekit.errors import UnsupportedError
from edgekit.export.architectures.decoder_options import read_number
from edgekit.export.architectures.seq2seq_options import ACTIVATIONS, Options, check_options, read_sizes
from edgekit.export.architectures.seq2seq_weights import Seq2SeqNames
from edgekit.graph.config import Seq2SeqConfig

# Distances beyond relative_attention_max_distance share a bucket, so that any length would do.
MOST_POSITIONS = 2048
SIZES = {
    "d_model": "d_model",
    "encoder_layers": "num_layers",
    "decoder_layers": "num_decoder_layers",
    "encoder_attention_heads": "num_heads",
    "decoder_attention_heads": "num_heads",
    "encoder_ffn_dim": "d_ff",
    "decoder_ffn_dim": "d_ff",
    "head_dim": "d_kv",
    "source_vocab_size": "vocab_size",
    "target_vocab_size": "vocab_size",
}
DEFAULTS: dict[str, Any] = {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128}
OPTIONS: dict[str, tuple[Any, ...]] = {
    "tie_word_embeddings": (True, False),
    "scale_decoder_outputs": (True, False),
    "feed_forward_proj": tuple(ACTIVATIONS) + tuple(f"gated-{name}" for name in ACTIVATIONS),
}


def read_config(options: Options, tensors: Collection[str]) -> Seq2SeqConfig:
    """The configuration that config.json declares.

    Args:
        options: config.json and generation_config.json.
        tensors: The names that the checkpoint has.

    Raises:
        UnsupportedError: Values that are not implemented, all in one message.
        SourceError: A size is missing or is none.
    """
    check_options(options, OPTIONS)
    layers = options.get("num_layers")
    sizes = read_sizes({**options, "num_decoder_layers": options.get("num_decoder_layers") or layers}, SIZES)
    activation, gated = _activation(options)
    return Seq2SeqConfig(
        **sizes,
        model_type=options["model_type"],
        activation_function=activation,
        decoder_cell="self_attention",
        max_position_embeddings=MOST_POSITIONS,
        embed_scale=1.0,
        layer_norm_epsilon=read_number(options, "layer_norm_epsilon", 1e-6),
        shared_embeddings=True,
        tied_output="lm_head.weight" not in tensors if _is_of_5(options) else options.get("tie_word_embeddings", True),
        norm_position="pre",
        norm="rms",
        positions="relative",
        final_norm=True,
        gated_ffn=gated,
        attention_scaled=False,
    )


def read_names(options: Options) -> Seq2SeqNames:
    """What the checkpoint calls its weights."""
    _, gated = _activation(options)
    settings = [_buckets(options, name) for name in DEFAULTS]
    scaled = _is_scaled(options)

    def expand(config: Seq2SeqConfig, table: np.ndarray, side: str) -> np.ndarray:
        length = config.max_position_embeddings
        if side == "encoder":
            buckets = distance_buckets(np.arange(1 - length, length), *settings, bidirectional=True)
        else:
            buckets = distance_buckets(-np.arange(length - 1, -1, -1), *settings, bidirectional=False)
        return np.ascontiguousarray(table[buckets].T)

    relative = "{side}.block.0.layer.0.SelfAttention.relative_attention_bias"
    return Seq2SeqNames(
        embeddings=("shared", "encoder.embed_tokens", "decoder.embed_tokens"),
        output="lm_head",
        layer="{side}.block.{layer}.",
        encoder=_attention("self_attention", 0, "SelfAttention") | _feed_forward(1, gated),
        decoder=_attention("self_attention", 0, "SelfAttention")
        | _attention("cross_attention", 1, "EncDecAttention")
        | _feed_forward(2, gated),
        side="{side}.",
        norms={"final_norm": "final_layer_norm"},
        relative={side: relative.format(side=side) for side in ("encoder", "decoder")},
        expand=expand,
        # A table that old conversions have and no model uses.
        ignored=r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
        # What a tied head multiplies the decoder's output by.
        factors={"decoder.final_norm": options["d_model"] ** -0.5} if scaled else {},
    )


def distance_buckets(distances: np.ndarray, buckets: int, most: int, *, bidirectional: bool) -> np.ndarray:
    """The bucket of each distance, key minus query (modeling_t5.py, T5Attention._relative_position_bucket).

    Half of the buckets are one distance each, the others grow logarithmically up to ``most``.

    Args:
        distances: int64.
        buckets: how many there are.
        most: this distance and all beyond share a bucket.
        bidirectional: keys may come after a query: half of the buckets are theirs. Else they count as distance 0.
    """
    offset = np.zeros_like(distances)
    if bidirectional:
        buckets //= 2
        offset = (distances > 0) * buckets
        distances = np.abs(distances)
    else:
        distances = -np.minimum(distances, 0)
    exact = buckets // 2
    # In float32, as torch calculates it, so that the same distances begin a bucket.
    logarithm = np.log(np.maximum(distances, 1).astype(np.float32) / np.float32(exact))
    far = exact + (logarithm / np.float32(math.log(most / exact)) * np.float32(buckets - exact)).astype(np.int64)
    found: np.ndarray = offset + np.where(distances < exact, distances, np.minimum(far, buckets - 1))
    return found


def _is_of_5(options: Options) -> bool:
    """Whether transformers 5 wrote it: tie_word_embeddings is true then for every T5, also where the tables differ."""
    version = str(options.get("transformers_version")).partition(".")[0]
    return version.isdigit() and int(version) >= 5


def _is_scaled(options: Options) -> bool:
    """Whether the decoder's output is divided by the root of d_model: where the head is tied, says transformers 4."""
    if _is_of_5(options):
        return bool(options.get("scale_decoder_outputs", options["model_type"] == "t5"))
    return bool(options.get("tie_word_embeddings", True))


def _activation(options: Options) -> tuple[str, bool]:
    name = options.get("feed_forward_proj", "relu")
    gated = name.startswith("gated-")
    # configuration_t5.py: "gated-gelu" means the approximation by tanh.
    return "gelu_tanh" if name == "gated-gelu" else ACTIVATIONS[name.removeprefix("gated-")], gated


def _buckets(options: Options, name: str) -> int:
    value = options.get(name, DEFAULTS[name])
    least = 4 if name == "relative_attention_num_buckets" else 2
    if type(value) is not int or not least <= value <= MOST_POSITIONS:
        raise UnsupportedError(
            f"unsupported {options['model_type']} options: {name}={value!r:.120} (expected {least} to {MOST_POSITIONS})"
        )
    return value


def _attention(ours: str, block: int, theirs: str) -> dict[str, tuple[str, ...]]:
    query, key, value, output = (f"layer.{block}.{theirs}.{part}" for part in "qkvo")
    inputs = (
        {f"{ours}.qkv": (query, key, value)}
        if ours == "self_attention"
        else {f"{ours}.query": (query,), f"{ours}.key_value": (key, value)}
    )
    return {**inputs, f"{ours}.output": (output,), f"{ours}.norm": (f"layer.{block}.layer_norm",)}


def _feed_forward(block: int, gated: bool) -> dict[str, tuple[str, ...]]:
    dense = f"layer.{block}.DenseReluDense"
    up = (
        {"feed_forward.gate_up": (f"{dense}.wi_0", f"{dense}.wi_1")} if gated else {"feed_forward.up": (f"{dense}.wi",)}
    )
    return {**up, "feed_forward.down": (f"{dense}.wo",), "feed_forward.norm": (f"layer.{block}.layer_norm",)}
