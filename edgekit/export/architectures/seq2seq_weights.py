"""Encoder-decoder weights: from a checkpoint's names, as data, to the canonical ones that the graph builder takes.

In: a configuration, `Seq2SeqNames` and tensors by the checkpoint's names. Out: canonical weights, each put together
only when it is asked for, so that a model is never in memory as a whole unless its user keeps it. Refused: tensors that
are missing, left over, misshapen or not finite, all in one error, before the first weight is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from edgekit.errors import SourceError
from edgekit.export.architectures.lazy_weights import LazyWeights
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.tensors import Tensor

_SHOWN = 6
SUPPRESSED = np.float32(-1e9)  # a logit that greedy search can't choose, and that stays finite in sums


@dataclass(frozen=True)
class Seq2SeqNames:
    """What a kind of checkpoint calls the weights of an encoder-decoder; ``.weight`` and ``.bias`` are left out.

    Attributes:
        embeddings: Names of the embedding that both sides share; the first that is there counts, the others are it.
        output: The output layer; ignored where it is tied.
        layer: What the names of a layer's tensors begin with; ``{side}`` is encoder or decoder, ``{layer}`` its number.
        encoder: Ours within a layer -> theirs; several are joined along their outputs, in that order.
        decoder: The same for the decoder.
        side: What the names of a side's other tensors begin with.
        norms: Ours of a side -> theirs.
        positions: The table of learned positions of a side, whose first ``position_offset`` rows no position has.
        formula: Positions that follow from the configuration, by the name of their weight; a stored table of the same
            kind is left out.
        relative: The table of relative positions of a side, within its first layer: ``[buckets, heads]``.
        expand: ``(config, table, side)`` to the bias by distance that `Seq2SeqConfig.positions_weight` asks for.
        position_offset: Rows of the learned table before the first position's.
        output_bias: The output layer's bias, ``[1, vocabulary]``; may be missing.
        prefix: What all names may begin with, and the checkpoint of a model without its head does not.
        ignored: A pattern of whole names that are left out on purpose: buffers, not weights.
        factors: Ours -> a factor on the weight.
    """

    embeddings: tuple[str, ...]
    output: str
    layer: str
    encoder: Mapping[str, tuple[str, ...]]
    decoder: Mapping[str, tuple[str, ...]]
    side: str
    norms: Mapping[str, str]
    positions: str | None = None
    formula: Callable[[Seq2SeqConfig], np.ndarray] | None = None
    relative: Mapping[str, str] = field(default_factory=dict)
    expand: Callable[[Seq2SeqConfig, np.ndarray, str], np.ndarray] | None = None
    position_offset: int = 0
    output_bias: str | None = None
    prefix: str = ""
    ignored: str = ""
    factors: Mapping[str, float] = field(default_factory=dict)


def map_weights(
    config: Seq2SeqConfig, names: Seq2SeqNames, tensors: Mapping[str, np.ndarray], forbidden: Sequence[int] = ()
) -> Mapping[str, Tensor]:
    """Canonical weights, each calculated when it is asked for.

    Args:
        config: Sizes and options.
        names: The checkpoint's.
        tensors: Arrays as torch stores them: a linear layer is ``[out, in]``.
        forbidden: Ids that generation may not produce, ascending.

    Raises:
        SourceError: Tensors are missing, left over, misshapen or not finite; at most six are listed.
    """
    reader = _Reader(config, names, tensors, forbidden)
    reader.check()
    return LazyWeights(reader.weights)


def forbidden_ids(options: Mapping[str, object], vocab_size: int) -> list[int]:
    """Ids that ``bad_words_ids`` forbids, ascending; never the end (transformers' NoBadWordsLogitsProcessor).

    Raises:
        SourceError: There are ids outside the vocabulary.
    """
    words = options.get("bad_words_ids") or []
    assert isinstance(words, list)
    outside = [word[0] for word in words if type(word[0]) is not int or not 0 <= word[0] < vocab_size]
    if outside:
        raise SourceError(f"bad_words_ids names ids {outside} outside the vocabulary of {vocab_size}")
    return sorted({word[0] for word in words if word[0] != options.get("eos_token_id")})


class _Reader:
    """Walks a checkpoint once: how each weight is put together, and everything that is wrong."""

    def __init__(
        self, config: Seq2SeqConfig, names: Seq2SeqNames, tensors: Mapping[str, np.ndarray], forbidden: Sequence[int]
    ) -> None:
        self.weights: dict[str, Callable[[], Tensor]] = {}
        self._config, self._names = config, names
        self._prefix = names.prefix if any(name.startswith(names.prefix) for name in tensors) else ""
        self._tensors = {name.removeprefix(self._prefix): partial(tensors.__getitem__, name) for name in tensors}
        self._problems: list[str] = []
        self._left = {name for name in self._tensors if not re.fullmatch(names.ignored, name)}
        self._read_tables(forbidden)
        for side, layers, parts in (
            ("encoder", config.encoder_layers, names.encoder),
            ("decoder", config.decoder_layers, names.decoder),
        ):
            self._read_positions(side)
            for ours, theirs in names.norms.items():
                self._read_part(f"{side}.{ours}", [names.side.format(side=side) + theirs], [(config.d_model,)])
            shapes = _part_shapes(config, side)
            for layer in range(min(layers, len(tensors) + 1)):  # beyond that, some are missing already
                prefix = names.layer.format(side=side, layer=layer)
                for ours, parts_of in parts.items():
                    self._read_part(f"{side}.layers.{layer}.{ours}", [prefix + p for p in parts_of], shapes[ours])

    def check(self) -> None:
        """Raises `SourceError` when anything is wrong."""
        left = [f"{name} is not a tensor of {self._config.model_type}" for name in sorted(self._left)]
        if problems := self._problems + left:
            listed = "; ".join(problems[:_SHOWN])
            more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise SourceError(f"the checkpoint's tensors don't fit its config.json: {listed}{more}")

    def _read_tables(self, forbidden: Sequence[int]) -> None:
        config, names = self._config, self._names
        table = (config.source_vocab_size, config.d_model)
        output = f"{names.output}.weight"
        known = [*(f"{name}.weight" for name in names.embeddings), *([output] if config.tied_output else [])]
        present = [name for name in known if name in self._tensors] or known[:1]
        self._add("source_embedding.weight", present[0], table)
        self._left.difference_update(known)
        if not config.tied_output:
            self._add("output.weight", output, table)
        stored = names.output_bias if names.output_bias in self._tensors else None
        if stored is not None:
            self._expect(stored, (1, config.target_vocab_size))
        if not self._problems:
            bias = np.zeros(config.target_vocab_size, np.float32)
            if stored is not None:
                bias += self._plain(stored).reshape(-1)
            if forbidden:
                # transformers forbids them after the softmax: their own biases are kept for beam search's scores.
                own = bias[list(forbidden)]
                bias[list(forbidden)] = SUPPRESSED
                self.weights["output.suppressed_bias"] = lambda: own
            if bias.any():
                self.weights["output.bias"] = lambda: bias

    def _read_positions(self, side: str) -> None:
        config, names = self._config, self._names
        weight = config.positions_weight(side)
        if names.formula is not None:
            self.weights[weight] = partial(names.formula, config)
        elif names.positions is not None:
            rows = config.max_position_embeddings + names.position_offset
            stored = f"{names.side.format(side=side)}{names.positions}.weight"
            self._expect(stored, (rows, config.d_model))
            self.weights[weight] = lambda: self._plain(stored)[names.position_offset :]
        elif (expand := names.expand) is not None:
            heads = config.encoder_attention_heads if side == "encoder" else config.decoder_attention_heads
            table = f"{names.relative[side]}.weight"
            buckets = self._tensors[table]().shape[0] if table in self._tensors else 0
            self._expect(table, (buckets, heads))
            self.weights[weight] = lambda: expand(config, self._plain(table), side)

    def _read_part(self, ours: str, theirs: list[str], shapes: list[tuple[int, ...]]) -> None:
        for name, shape in zip(theirs, shapes, strict=True):
            self._expect(f"{name}.weight", shape)
        weights = [f"{name}.weight" for name in theirs]
        if len(shapes[0]) == 1:
            factor = np.float32(self._names.factors.get(ours, 1))
            self.weights[f"{ours}.weight"] = lambda: self._plain(weights[0]) * factor
        else:
            self.weights[f"{ours}.weight"] = partial(self._join, weights)
        biases = [f"{name}.bias" for name in theirs]
        needs_bias = len(shapes[0]) == 1 and self._config.norm == "layer"
        if needs_bias or any(name in self._tensors for name in biases):
            for name, shape in zip(biases, shapes, strict=True):
                self._expect(name, shape[:1])
            self.weights[f"{ours}.bias"] = lambda: np.concatenate([self._plain(name) for name in biases])

    def _add(self, ours: str, theirs: str, shape: tuple[int, ...]) -> None:
        self._expect(theirs, shape)
        self.weights[ours] = partial(self._plain, theirs)

    def _expect(self, name: str, shape: tuple[int, ...]) -> None:
        self._left.discard(name)
        if name not in self._tensors:
            self._problems.append(f"{name} is missing")
            return
        tensor = self._tensors[name]()
        if tensor.shape != shape:
            self._problems.append(f"{name} is {list(tensor.shape)}, expected {list(shape)}")
        elif not (tensor.dtype.kind == "f" and np.isfinite(tensor).all()):
            self._problems.append(f"{name} holds values that are not finite numbers")

    def _plain(self, name: str) -> np.ndarray:
        return np.asarray(self._tensors[name](), np.float32)

    def _join(self, names: list[str]) -> np.ndarray:
        """Matrices ``[in, sum of out]``."""
        return np.ascontiguousarray(np.concatenate([self._plain(name) for name in names]).T)


def _part_shapes(config: Seq2SeqConfig, side: str) -> dict[str, list[tuple[int, ...]]]:
    """Each of our layers' weights: the shapes ``[out, in]`` of what it is joined from, or ``[size]`` of a norm."""
    is_encoder = side == "encoder"
    d, width = config.d_model, config.encoder_width if is_encoder else config.decoder_width
    ffn = config.encoder_ffn_dim if is_encoder else config.decoder_ffn_dim
    matrices: dict[str, list[tuple[int, ...]]] = {
        "self_attention.qkv": [(width, d)] * 3,
        "cross_attention.query": [(width, d)],
        "cross_attention.key_value": [(width, d)] * 2,
        "feed_forward.up": [(ffn, d)],
        "feed_forward.gate_up": [(ffn, d)] * 2,
        "feed_forward.down": [(d, ffn)],
    }
    for block in ("self_attention", "cross_attention"):
        matrices[f"{block}.output"] = [(d, width)]
    return matrices | {f"{block}.norm": [(d,)] for block in ("self_attention", "cross_attention", "feed_forward")}
