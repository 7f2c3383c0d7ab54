"""Hugging Face MarianMT checkpoints (``model_type: marian``): config.json and tensors to `Seq2SeqConfig` and weights.

A post-norm transformer encoder-decoder with sinusoidal positions. Names and formulas follow
transformers/models/marian/modeling_marian.py and configuration_marian.py (4.57). `marian_options` says what is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.architectures.marian_options import ACTIVATIONS, check_options
from edgekit.export.architectures.seq2seq_weights import forbidden_ids
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.tensors import Tensor

LAYER_NORM_EPSILON = 1e-5  # torch.nn.LayerNorm's default, which modeling_marian.py uses
SUPPRESSED = np.float32(-1e9)  # a logit that greedy search can't choose, and that stays finite in sums

# A configuration is a few numbers: more than this is no model but an attempt to fill the memory.
MOST_POSITIONS = 1 << 14
LEAST_POSITIONS = 16  # what `edgekit.graph.check` runs

# ours -> theirs, within a layer; several of theirs are joined along the output axis
ENCODER_LAYER = {
    "self_attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention.output": ("self_attn.out_proj",),
    "feed_forward.up": ("fc1",),
    "feed_forward.down": ("fc2",),
}
ENCODER_NORMS = {"self_attention.norm": "self_attn_layer_norm", "feed_forward.norm": "final_layer_norm"}
DECODER_LAYER = ENCODER_LAYER | {
    "cross_attention.query": ("encoder_attn.q_proj",),
    "cross_attention.key_value": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "cross_attention.output": ("encoder_attn.out_proj",),
}
DECODER_NORMS = ENCODER_NORMS | {"cross_attention.norm": "encoder_attn_layer_norm"}

# Where a checkpoint may keep an embedding: a tied one is stored under any one of its names.
SHARED_NAMES = (
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
)


def read_config(options: Mapping[str, Any]) -> Seq2SeqConfig:
    """The configuration that `merge_options` gives.

    Raises:
        UnsupportedError: unsupported values, all in one message.
        SourceError: a size is missing, no whole number above 0, or beyond any model's.
    """
    check_options(options)
    sizes: dict[str, Any] = {name: options.get(name) for name in _SIZES}
    vocabularies: dict[str, Any] = {"vocab_size": options.get("vocab_size")}
    if options.get("decoder_vocab_size"):
        vocabularies["decoder_vocab_size"] = options["decoder_vocab_size"]
    wrong = [f"{k}={v!r}" for k, v in (sizes | vocabularies).items() if type(v) is not int or v < 1]
    if not wrong and not LEAST_POSITIONS <= sizes["max_position_embeddings"] <= MOST_POSITIONS:
        positions = f"{LEAST_POSITIONS} to {MOST_POSITIONS}"
        wrong = [f"max_position_embeddings={sizes['max_position_embeddings']} (expected {positions})"]
    if wrong:
        raise SourceError(
            f"config.json: expected a whole number above 0 for each size, found {', '.join(wrong)}; "
            "is this a MarianMT checkpoint?"
        )
    source_vocab = vocabularies["vocab_size"]
    shared = options.get("share_encoder_decoder_embeddings", True)
    return Seq2SeqConfig(
        **sizes,
        model_type="marian",
        activation_function=ACTIVATIONS[options.get("activation_function", "gelu")],
        decoder_cell="self_attention",
        source_vocab_size=source_vocab,
        # A model with shared embeddings ignores decoder_vocab_size.
        target_vocab_size=source_vocab if shared else vocabularies.get("decoder_vocab_size", source_vocab),
        embed_scale=math.sqrt(sizes["d_model"]) if options.get("scale_embedding", False) else 1.0,
        layer_norm_epsilon=LAYER_NORM_EPSILON,
        shared_embeddings=shared,
        tied_output=options.get("tie_word_embeddings", True),
    )


_SIZES = (
    "d_model",
    "encoder_layers",
    "decoder_layers",
    "encoder_attention_heads",
    "decoder_attention_heads",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "max_position_embeddings",
)


def map_weights(
    config: Seq2SeqConfig, tensors: Mapping[str, np.ndarray], options: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Canonical weights; raises `SourceError` listing every tensor that is missing, misshapen or left over."""
    reader = _Tensors(tensors)
    weights: dict[str, Tensor] = _embeddings(reader, config)
    bias = reader.take_stored("final_logits_bias", (1, config.target_vocab_size))
    positions = _positions(reader, config)
    for side, layers, linears, norms in (
        ("encoder", config.encoder_layers, ENCODER_LAYER, ENCODER_NORMS),
        ("decoder", config.decoder_layers, DECODER_LAYER, DECODER_NORMS),
    ):
        for layer in range(min(layers, len(tensors))):  # beyond that, some are missing already
            ours, theirs = f"{side}.layers.{layer}", f"model.{side}.layers.{layer}"
            for name, parts in linears.items():
                shape = _linear_shape(config, side, name)
                weights |= reader.linear(f"{ours}.{name}", [f"{theirs}.{part}" for part in parts], shape)
            for name, part in norms.items():
                for kind in ("weight", "bias"):
                    weights[f"{ours}.{name}.{kind}"] = reader.take(f"{theirs}.{part}.{kind}", (config.d_model,))
    reader.check()
    weights["positions.weight"] = sinusoids(*_positions_shape(config)) if positions is None else positions
    return weights | _output_bias(bias, config.target_vocab_size, options)


def _linear_shape(config: Seq2SeqConfig, side: str, name: str) -> tuple[int, int]:
    """``[out, in]`` of each of the parts, as torch stores a linear layer."""
    ffn = config.encoder_ffn_dim if side == "encoder" else config.decoder_ffn_dim
    d = config.d_model
    return {"feed_forward.up": (ffn, d), "feed_forward.down": (d, ffn)}.get(name, (d, d))


def _embeddings(reader: _Tensors, config: Seq2SeqConfig) -> dict[str, Tensor]:
    source = (config.source_vocab_size, config.d_model)
    target = (config.target_vocab_size, config.d_model)
    if config.shared_embeddings:
        names: tuple[str, ...] = SHARED_NAMES if config.tied_output else SHARED_NAMES[:-1]
        weights: dict[str, Tensor] = {"source_embedding.weight": reader.take_any(names, source)}
    else:
        names = SHARED_NAMES[2:] if config.tied_output else SHARED_NAMES[2:3]
        weights = {
            "source_embedding.weight": reader.take_any(SHARED_NAMES[1:2], source),
            "target_embedding.weight": reader.take_any(names, target),
        }
        reader.drop("model.shared.weight")
    if not config.tied_output:
        weights["output.weight"] = reader.take("lm_head.weight", target)
    return weights


def _output_bias(stored: np.ndarray | None, size: int, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """``final_logits_bias``, or zeros, with the ids that generation forbids (``bad_words_ids``) made impossible.

    transformers forbids them after the softmax: their own biases, ascending by id, are kept for beam search's scores.
    """
    bias = np.zeros(size, np.float32) if stored is None else stored.reshape(-1).copy()
    ids = forbidden_ids(options, size)
    if not ids:
        return {"output.bias": bias}
    own = bias[ids]
    bias[ids] = SUPPRESSED
    return {"output.bias": bias, "output.suppressed_bias": own}


def _positions_shape(config: Seq2SeqConfig) -> tuple[int, int]:
    return config.max_position_embeddings, config.d_model


def _positions(reader: _Tensors, config: Seq2SeqConfig) -> np.ndarray | None:
    """The checkpoint's position table ``float32 [positions, d_model]``, which older ones have; None for the formula."""
    shape = _positions_shape(config)
    encoder, decoder = (
        reader.take_stored(f"model.{side}.embed_positions.weight", shape) for side in ("encoder", "decoder")
    )
    if encoder is not None and decoder is not None and not np.array_equal(encoder, decoder):
        raise UnsupportedError(
            "the encoder's and decoder's embed_positions differ: only sinusoidal positions are supported"
        )
    return decoder if encoder is None else encoder


def sinusoids(positions: int, d_model: int) -> np.ndarray:
    """MarianMT's table ``float32 [positions, d_model]``: sines, then cosines, of ``p / 10000^(2i / d_model)``.

    modeling_marian.py, MarianSinusoidalPositionalEmbedding.create_weight; an odd width has one sine more.
    """
    angles = np.arange(positions)[:, None] / np.power(10000, 2 * (np.arange(d_model) // 2) / d_model)
    return np.concatenate([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], axis=1).astype(np.float32)


class _Tensors:
    """Takes a checkpoint's tensors by name and remembers what is missing, misshapen or left over."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors = tensors
        self._left = set(tensors)
        self._problems: list[str] = []

    def drop(self, *names: str) -> None:
        """Leaves tensors out on purpose."""
        self._left.difference_update(names)

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """The tensor in float32; an empty one where it doesn't fit: its size would be config.json's word alone."""
        self.drop(name)
        tensor = self._tensors.get(name)
        if tensor is None:
            self._problems.append(f"{name} is missing")
        elif tensor.shape != shape:
            self._problems.append(f"{name} is {list(tensor.shape)}, expected {list(shape)}")
        elif not np.isfinite(tensor).all():
            self._problems.append(f"{name} holds values that are not finite")
        else:
            return np.asarray(tensor, np.float32)
        return np.zeros([0] * len(shape), np.float32)

    def take_stored(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """The tensor as `take` gives it; None where the checkpoint has none, which is no problem."""
        return self.take(name, shape) if name in self._tensors else None

    def take_any(self, names: tuple[str, ...], shape: tuple[int, int]) -> np.ndarray:
        """The tensor under the first of its names that the checkpoint has; the others are the same tensor."""
        present = [name for name in names if name in self._tensors]
        self.drop(*names)
        return self.take(present[0] if present else names[0], shape)

    def linear(self, ours: str, parts: list[str], shape: tuple[int, int]) -> dict[str, Tensor]:
        """Linear layers side by side: ``weight [in, sum of out]`` (torch stores [out, in]), ``bias [sum of out]``."""
        weights = [self.take(f"{part}.weight", shape) for part in parts]
        biases = [self.take(f"{part}.bias", shape[:1]) for part in parts]
        if self._problems:
            return {}
        weight = np.ascontiguousarray(np.concatenate(weights).T)
        return {f"{ours}.weight": weight, f"{ours}.bias": np.concatenate(biases)}

    def check(self) -> None:
        """Raises `SourceError` when anything was wrong."""
        problems = self._problems + [f"{name} is not a MarianMT tensor" for name in sorted(self._left)]
        if problems:
            listed = "; ".join(problems[:6]) + (f"; and {len(problems) - 6} more" if len(problems) > 6 else "")
            raise SourceError(f"the checkpoint's tensors don't fit its config.json: {listed}")
