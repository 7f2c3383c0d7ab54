"""Bergamot / Firefox Translations student models: a Marian binary to `Seq2SeqConfig` and canonical weights.

A transformer encoder and a decoder whose self-attention is an SSRU, all post-norm; the first decoder input is a zero
vector. The int8 weights and their one scale a tensor pass through untouched; so do the activation scales
(``QuantMultA``) that the model was calibrated with. Options that the students don't use are refused by name.

Sources: marian-dev 2781d735 (src/models/transformer.h, src/rnn/cells.h), the students' training configurations in
mozilla/translations 4732dc94.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.errors import SourceError, UnsupportedError
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.tensors import QuantizedTensor, Tensor

EOS_TOKEN_ID = 0
UNK_TOKEN_ID = 1
# Sentences are cut at 128 ids; an output may have 2.5 target tokens a source token (the published configurations).
MAX_SOURCE_TOKENS = 128
MAX_LENGTH_FACTOR = 2.5
MAX_POSITIONS = int(MAX_SOURCE_TOKENS * MAX_LENGTH_FACTOR)
LAYER_NORM_EPSILON = 1e-6  # marian-dev src/graph/expression_operators.h, layerNorm's default
SUPPRESSED = np.float32(-1e9)  # a logit that greedy search can't choose, and that stays finite in sums

SIZES = ("dim-emb", "transformer-heads", "transformer-dim-ffn", "enc-depth", "dec-depth")
MIN_WIDTH = 4  # the positions' sines and cosines, two of each

# What an option must be; these are the only networks the graphs implement.
REQUIRED: dict[str, tuple[Any, ...]] = {
    "type": ("transformer",),
    "transformer-ffn-depth": (2,),
    "transformer-ffn-activation": ("relu",),
    "transformer-decoder-autoreg": ("rnn",),
    "dec-cell": ("ssru",),
    "transformer-preprocess": ("",),
    "transformer-postprocess": ("dan", "an"),
    "transformer-postprocess-emb": ("d", ""),
    "transformer-postprocess-top": ("",),
    "transformer-no-projection": (False,),
    "transformer-train-position-embeddings": (False,),
    "transformer-tied-layers": ([], None),
    "output-omit-bias": (False,),
    "layer-normalization": (False,),
    "lemma-dim-emb": (0,),
}

# canonical name -> the binary's items, joined along the output axis
ATTENTION = {
    "qkv": ("Wq", "Wk", "Wv"),
    "query": ("Wq",),
    "key_value": ("Wk", "Wv"),
    "output": ("Wo",),
}


def read_config(options: Mapping[str, Any], tensors: Mapping[str, Tensor], *, shortlist: bool) -> Seq2SeqConfig:
    """The configuration that a binary's ``special:model.yml`` declares, as far as its tensors bear it out.

    Args:
        options: the parsed YAML.
        tensors: the binary's items; their names decide whether vocabularies are shared (published metadata errs).
        shortlist: whether the bundle will have a lexical shortlist.

    Raises:
        UnsupportedError: options with other values than `REQUIRED`, all in one message.
        SourceError: a size is missing or none, or the embedding is missing.
    """
    wrong = [
        f"{name}={options[name]!r} (expected {' or '.join(map(repr, allowed))})"
        for name, allowed in REQUIRED.items()
        if name in options and options[name] not in allowed
    ]
    if wrong:
        raise UnsupportedError(f"this Marian model is not a Bergamot student: {'; '.join(wrong)}")
    sizes = {name: options.get(name) for name in SIZES}
    unusable = [f"{name}={size!r}" for name, size in sizes.items() if type(size) is not int or size < 1]
    if unusable:
        raise SourceError(
            f"special:model.yml: expected a whole number above 0 for each size, found {', '.join(unusable)}; "
            "is the model file complete?"
        )
    d_model, heads, ffn, *layers = (int(options[name]) for name in SIZES)
    if d_model % 2 or d_model < MIN_WIDTH:
        raise UnsupportedError(
            f"this Marian model is not a Bergamot student: dim-emb={d_model} (expected 4, 6, 8, ...)"
        )
    shared = "Wemb" in tensors
    source, target = ("Wemb", "Wemb") if shared else ("encoder_Wemb", "decoder_Wemb")
    missing = [name for name in (source, target) if name not in tensors]
    if missing:
        raise SourceError(f"the Marian model has neither Wemb nor {' and '.join(missing)}: no embedding to read")
    return Seq2SeqConfig(
        model_type="bergamot",
        d_model=d_model,
        encoder_layers=layers[0],
        decoder_layers=layers[1],
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=ffn,
        decoder_ffn_dim=ffn,
        activation_function="relu",
        decoder_cell="ssru",
        # One row more than the vocabulary: the zero vector that starts the decoder.
        source_vocab_size=tensors[source].shape[0] + int(shared),
        target_vocab_size=tensors[target].shape[0] + 1,
        max_position_embeddings=MAX_POSITIONS,
        embed_scale=math.sqrt(d_model),
        layer_norm_epsilon=LAYER_NORM_EPSILON,
        shared_embeddings=shared,
        tied_output=True,
        has_shortlist=shortlist,
    )


def map_weights(config: Seq2SeqConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Canonical weights from the binary's items; raises `SourceError` listing every missing or misshapen one."""
    source = "Wemb" if config.shared_embeddings else "encoder_Wemb"
    target = "Wemb" if config.shared_embeddings else "decoder_Wemb"
    reader = _Items(tensors)
    weights: dict[str, Tensor] = {}
    embedding = reader.matrix((source,), (config.source_vocab_size - int(config.shared_embeddings), config.d_model))
    weights["source_embedding.weight"] = _with_zero_row(embedding) if config.shared_embeddings else embedding
    if not config.shared_embeddings:
        shape = (config.target_vocab_size - 1, config.d_model)
        weights["target_embedding.weight"] = _with_zero_row(reader.matrix((target,), shape))
    bias = reader.vector(("decoder_ff_logit_out_b",), config.target_vocab_size - 1)
    alpha = reader.alpha((target,))
    if alpha is not None:
        weights["output.activation_scale"] = alpha
    # Beyond as many layers as there are items, some are missing already.
    for layer in range(min(config.encoder_layers, len(tensors))):
        weights |= _encoder_layer(reader, config, layer)
    for layer in range(min(config.decoder_layers, len(tensors))):
        weights |= _decoder_layer(reader, config, layer)
    reader.check()
    weights["output.bias"] = _output_bias(bias)
    weights["positions.weight"] = sinusoids(config.max_position_embeddings, config.d_model)
    return weights


def sinusoids(positions: int, d_model: int) -> np.ndarray:
    """Marian's position table ``float32 [positions, d_model]``: sines, then cosines, of ``p * 10000^(-i / (h - 1))``.

    marian-dev src/models/transformer.h, addPositionalEmbeddings, and its sinusoidal initialiser; h = d_model / 2.
    """
    half = d_model // 2
    rates = np.exp(np.arange(half) * -(math.log(10000) / (half - 1)))
    angles = np.arange(positions)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _encoder_layer(reader: _Items, config: Seq2SeqConfig, layer: int) -> dict[str, Tensor]:
    ours, theirs = f"encoder.layers.{layer}", f"encoder_l{layer + 1}"
    weights = _attention(reader, config.d_model, f"{ours}.self_attention", f"{theirs}_self", ("qkv", "output"))
    return weights | _feed_forward(reader, config.d_model, config.encoder_ffn_dim, ours, theirs)


def _decoder_layer(reader: _Items, config: Seq2SeqConfig, layer: int) -> dict[str, Tensor]:
    ours, theirs, d = f"decoder.layers.{layer}", f"decoder_l{layer + 1}", config.d_model
    gate_bias = reader.vector((f"{theirs}_rnn_bf",), d)
    weights = {
        **_linear(reader, f"{ours}.ssru.candidate_gate", (f"{theirs}_rnn_W", f"{theirs}_rnn_Wf"), (d, d)),
        f"{ours}.ssru.candidate_gate.bias": np.concatenate([np.zeros_like(gate_bias), gate_bias]),
        **_norm(reader, f"{ours}.ssru.norm", f"{theirs}_rnn_ffn", d),
    }
    parts = ("query", "key_value", "output")
    weights |= _attention(reader, d, f"{ours}.cross_attention", f"{theirs}_context", parts)
    return weights | _feed_forward(reader, d, config.decoder_ffn_dim, ours, theirs)


def _attention(reader: _Items, d: int, ours: str, theirs: str, parts: tuple[str, ...]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for part in parts:
        names = tuple(f"{theirs}_{item}" for item in ATTENTION[part])
        weights |= _linear(reader, f"{ours}.{part}", names, (d, d))
        weights[f"{ours}.{part}.bias"] = reader.vector(tuple(n.replace("_W", "_b") for n in names), d)
    return weights | _norm(reader, f"{ours}.norm", f"{theirs}_Wo", d)


def _feed_forward(reader: _Items, d: int, ffn: int, ours: str, theirs: str) -> dict[str, Tensor]:
    return {
        **_linear(reader, f"{ours}.feed_forward.up", (f"{theirs}_ffn_W1",), (d, ffn)),
        f"{ours}.feed_forward.up.bias": reader.vector((f"{theirs}_ffn_b1",), ffn),
        **_linear(reader, f"{ours}.feed_forward.down", (f"{theirs}_ffn_W2",), (ffn, d)),
        f"{ours}.feed_forward.down.bias": reader.vector((f"{theirs}_ffn_b2",), d),
        **_norm(reader, f"{ours}.feed_forward.norm", f"{theirs}_ffn_ffn", d),
    }


def _linear(reader: _Items, ours: str, names: tuple[str, ...], shape: tuple[int, int]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {f"{ours}.weight": reader.matrix(names, shape)}
    alpha = reader.alpha(names)
    if alpha is not None:
        weights[f"{ours}.activation_scale"] = alpha
    return weights


def _norm(reader: _Items, ours: str, theirs: str, d: int) -> dict[str, Tensor]:
    return {
        f"{ours}.weight": reader.vector((f"{theirs}_ln_scale",), d),
        f"{ours}.bias": reader.vector((f"{theirs}_ln_bias",), d),
    }


def _with_zero_row(table: Tensor) -> Tensor:
    if isinstance(table, QuantizedTensor):
        zero = np.zeros((1, table.shape[1]), np.int8)
        return QuantizedTensor(np.concatenate([table.values, zero]), table.scale, table.axis)
    return np.concatenate([table, np.zeros((1, table.shape[1]), np.float32)])


def _output_bias(bias: np.ndarray) -> np.ndarray:
    """The output bias with ``<unk>`` and the appended zero row made impossible, as the engines do."""
    bias = np.append(bias, SUPPRESSED)
    bias[UNK_TOKEN_ID] = SUPPRESSED
    return bias


class _Items:
    """Takes the binary's items by name, joins those that share an input, and remembers what is wrong."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        # Activation scales are optional, and none_QuantMultA repeats the output layer's.
        self._left = {name for name in tensors if not name.endswith("_QuantMultA")}
        self._problems: list[str] = []

    def check(self) -> None:
        """Raises `SourceError` when anything was missing, misshapen or left over."""
        problems = self._problems + [f"{name} belongs to no layer of a student" for name in sorted(self._left)]
        if problems:
            listed = "; ".join(problems[:6]) + (f"; and {len(problems) - 6} more" if len(problems) > 6 else "")
            raise SourceError(f"the Marian model's tensors don't fit its options: {listed}")

    def matrix(self, names: tuple[str, ...], shape: tuple[int, int]) -> Tensor:
        """The items side by side, ``[in, sum of out]``; one scale a column where several scales meet."""
        parts = [self._item(name, shape) for name in names]
        if len(parts) == 1 or self._problems:
            return parts[0]
        if all(isinstance(part, QuantizedTensor) for part in parts):
            values = np.concatenate([part.values for part in parts], axis=1)
            scale = np.concatenate([np.broadcast_to(part.scale, part.shape[1]) for part in parts])
            return QuantizedTensor(values, np.ascontiguousarray(scale, np.float32), 1)
        return np.concatenate([p.dequantize() if isinstance(p, QuantizedTensor) else p for p in parts], axis=1)

    def vector(self, names: tuple[str, ...], size: int) -> np.ndarray:
        """The items end to end, ``float32 [size * len(names)]``."""
        parts = [self._item(name, (1, size)) for name in names]
        quantized = [name for name, part in zip(names, parts, strict=True) if isinstance(part, QuantizedTensor)]
        self._problems += [f"{name} is int8, expected float32" for name in quantized]
        return np.concatenate([np.reshape(part, -1) for part in parts if isinstance(part, np.ndarray)] or [np.zeros(0)])

    def alpha(self, names: tuple[str, ...]) -> np.ndarray | None:
        """The step of the products' quantised input, 1 / QuantMultA; the widest where several were calibrated."""
        alphas = [self._tensors.get(f"{name}_QuantMultA") for name in names]
        if any(alpha is None for alpha in alphas):
            return None
        return np.array(1 / min(float(np.asarray(alpha)) for alpha in alphas), np.float32)

    def _item(self, name: str, shape: tuple[int, int]) -> Any:
        """The item; an empty one where it doesn't fit, since its size would be the options' word alone."""
        self._left.discard(name)
        tensor = self._tensors.get(name)
        if tensor is None:
            self._problems.append(f"{name} is missing")
        elif tuple(tensor.shape) != shape:
            self._problems.append(f"{name} is {list(tensor.shape)}, expected {list(shape)}")
        else:
            return tensor
        return np.zeros((0, 0), np.float32)
