"""Decoder-only weights: from a checkpoint's names, as data, to the canonical ones that the graph builder takes.

In: a configuration, `DecoderNames` and tensors by the checkpoint's names. Out: canonical weights, each put together
only when it is asked for, so that a model is never in memory as a whole unless its user keeps it. Refused: tensors that
are missing, left over, misshapen or not finite, all in one error, before the first weight is given.

Both sources of such models, Hugging Face directories and GGUF files, share this; only the names differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from edgekit.errors import SourceError
from edgekit.export.architectures.lazy_weights import LazyWeights
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.tensors import BlockQuantizedTensor, QuantizedTensor, Tensor, concatenate_outputs

__all__ = ["DecoderNames", "map_decoder_weights"]

_SHOWN = 6


@dataclass(frozen=True)
class DecoderNames:
    """What a kind of checkpoint calls the weights of a decoder-only model; ``.weight`` and ``.bias`` are left out.

    Attributes:
        embedding: The table of tokens, ``[vocab_size, d_model]``.
        final_norm: The norm behind the last layer.
        output: The output layer, ``[vocab_size, d_model]``; ignored where it is tied.
        layer: What the names of a layer's tensors begin with; ``{layer}`` is its number.
        parts: Ours within a layer -> theirs; several are joined along their outputs, in that order.
        positions: The table of learned positions, ``[context_length, d_model]``.
        ignored: A pattern of whole names that are left out on purpose: buffers, not weights.
        prefix: What all names may begin with, and the checkpoint of a model without its head does not.
        transposed: Matrices are stored ``[in, out]`` instead of torch's ``[out, in]``.
        norm_offset: What the network adds to each norm's weight.
    """

    embedding: str
    final_norm: str
    output: str
    layer: str
    parts: Mapping[str, tuple[str, ...]]
    positions: str | None = None
    ignored: str = ""
    prefix: str = ""
    transposed: bool = False
    norm_offset: float = 0.0


def map_decoder_weights(
    config: CausalLMConfig,
    names: DecoderNames,
    tensors: Mapping[str, Tensor],
    biases: Collection[str] | None = None,
) -> Mapping[str, Tensor]:
    """Canonical weights, without the rotary tables: those follow from the configuration alone.

    Args:
        config: Sizes and options.
        names: The checkpoint's.
        tensors: Arrays, or `BlockQuantizedTensor` of axis 1, as they are stored (``[out, in]``).
        biases: Ours within a layer, and ``final_norm``, that have a bias; None for those whose bias is there.

    Returns:
        Weights by canonical name; each access calculates the weight anew.

    Raises:
        SourceError: Tensors are missing, left over, misshapen or not finite; at most six are listed.
    """
    reader = _Reader(config, names, tensors, biases)
    reader.check()
    return LazyWeights(reader.weights)


class _Reader:
    """Walks a checkpoint once: how each weight is put together, and everything that is wrong."""

    def __init__(
        self, config: CausalLMConfig, names: DecoderNames, tensors: Mapping[str, Tensor], biases: Collection[str] | None
    ) -> None:
        self.weights: dict[str, Callable[[], Tensor]] = {}
        self._config, self._names, self._biases = config, names, biases
        self._prefix = names.prefix if any(name.startswith(names.prefix) for name in tensors) else ""
        self._tensors = _without_prefix(tensors, self._prefix)
        self._problems: list[str] = []
        self._left = {name for name in self._tensors if not re.fullmatch(names.ignored, name)}
        self._read_tables()
        self._read_norm("final_norm", names.final_norm, config.d_model, "final_norm")
        shapes = _part_shapes(config)
        for layer in range(min(config.layers, len(tensors) + 1)):  # beyond that, some are missing already
            prefix = names.layer.format(layer=layer)
            for ours, theirs in names.parts.items():
                self._read_part(f"layers.{layer}.{ours}", ours, [prefix + part for part in theirs], shapes[ours])

    def check(self) -> None:
        """Raises `SourceError` when anything is wrong."""
        model_type = self._config.model_type
        left = [f"{self._shown(name)} is not a tensor of {model_type}" for name in sorted(self._left)]
        problems = self._problems + left
        if problems:
            listed = "; ".join(problems[:_SHOWN])
            more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise SourceError(f"the checkpoint's tensors don't fit its configuration: {listed}{more}")

    def _read_tables(self) -> None:
        config, names = self._config, self._names
        table = (config.vocab_size, config.d_model)
        self._add("embedding.weight", f"{names.embedding}.weight", table)
        if config.tied_output:
            self._left.discard(f"{names.output}.weight")
        else:
            self._add("output.weight", f"{names.output}.weight", table)
        if names.positions is not None:
            self._add("positions.weight", f"{names.positions}.weight", (config.context_length, config.d_model))

    def _read_part(self, ours: str, part: str, theirs: list[str], shapes: list[tuple[int, ...]]) -> None:
        if len(shapes[0]) == 1:
            self._read_norm(ours, theirs[0], shapes[0][0], part)
            return
        outputs = [shape[0] for shape in shapes]
        if len(theirs) < len(outputs):  # stored side by side already
            outputs = [sum(outputs)]
        stored = [(size, shapes[0][1])[:: -1 if self._names.transposed else 1] for size in outputs]
        for name, shape in zip(theirs, stored, strict=True):
            self._expect(f"{name}.weight", shape)
        self.weights[f"{ours}.weight"] = partial(self._join, [f"{name}.weight" for name in theirs])
        if self._has_bias(part, theirs):
            for name, size in zip(theirs, outputs, strict=True):
                self._expect(f"{name}.bias", (size,))
            self.weights[f"{ours}.bias"] = partial(self._join_biases, [f"{name}.bias" for name in theirs])

    def _read_norm(self, ours: str, theirs: str, size: int, part: str) -> None:
        self._expect(f"{theirs}.weight", (size,))
        self.weights[f"{ours}.weight"] = partial(self._norm_weight, f"{theirs}.weight")
        if self._has_bias(part, [theirs]):
            self._add(f"{ours}.bias", f"{theirs}.bias", (size,))

    def _has_bias(self, part: str, theirs: Sequence[str]) -> bool:
        if self._biases is not None:
            return part in self._biases
        return any(f"{name}.bias" in self._tensors for name in theirs)

    def _add(self, ours: str, theirs: str, shape: tuple[int, ...]) -> None:
        self._expect(theirs, shape)
        self.weights[ours] = partial(self._plain, theirs)

    def _expect(self, name: str, shape: tuple[int, ...]) -> None:
        self._left.discard(name)
        tensor = self._tensors.get(name)
        if tensor is None:
            self._problems.append(f"{self._shown(name)} is missing")
        elif tensor.shape != shape:
            self._problems.append(f"{self._shown(name)} is {list(tensor.shape)}, expected {list(shape)}")
        elif isinstance(tensor, np.ndarray) and not (tensor.dtype.kind == "f" and np.isfinite(tensor).all()):
            self._problems.append(f"{self._shown(name)} holds values that are not finite numbers")

    def _shown(self, name: str) -> str:
        """The checkpoint's own name, prefix and all; the output layer's never has it."""
        return name if name.startswith(self._names.output) else self._prefix + name

    def _plain(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        return np.asarray(tensor, np.float32) if isinstance(tensor, np.ndarray) else tensor

    def _norm_weight(self, name: str) -> Tensor:
        weight = _floats(self._plain(name))
        return weight + np.float32(self._names.norm_offset) if self._names.norm_offset else weight

    def _join(self, names: list[str]) -> Tensor:
        """Matrices ``[in, sum of out]``."""
        tensors = [self._plain(name) for name in names]
        if not self._names.transposed:
            tensors = [_transposed(tensor) for tensor in tensors]
        joined = tensors[0] if len(tensors) == 1 else concatenate_outputs(tensors)
        return np.ascontiguousarray(joined) if isinstance(joined, np.ndarray) else joined

    def _join_biases(self, names: list[str]) -> Tensor:
        return np.concatenate([_floats(self._plain(name)) for name in names])


def _part_shapes(config: CausalLMConfig) -> dict[str, list[tuple[int, ...]]]:
    """Each of our layers' weights: the shapes ``[out, in]`` of what it is joined from, or ``[size]`` of a norm."""
    d, ffn, head = config.d_model, config.ffn_dim, config.head_dim
    queries, keys = config.query_width, config.key_value_width
    norms = {"attention.norm": d, "attention.post_norm": d, "feed_forward.norm": d, "feed_forward.post_norm": d}
    norms |= {"attention.query_norm": head, "attention.key_norm": head}
    matrices: dict[str, list[tuple[int, ...]]] = {
        "attention.qkv": [(queries, d), (keys, d), (keys, d)],
        "attention.output": [(d, queries)],
        "feed_forward.gate_up": [(ffn, d), (ffn, d)],
        "feed_forward.up": [(ffn, d)],
        "feed_forward.down": [(d, ffn)],
    }
    return matrices | {name: [(size,)] for name, size in norms.items()}


def _without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    """The same tensors under names without a prefix that some checkpoints have and others do not."""
    if not prefix:
        return tensors
    return LazyWeights({name.removeprefix(prefix): partial(tensors.__getitem__, name) for name in tensors})


def _transposed(tensor: Tensor) -> Tensor:
    """``[out, in]`` to ``[in, out]``; blocks stay where they are, since a row of them belongs to one output."""
    if isinstance(tensor, BlockQuantizedTensor):
        return replace(tensor, axis=0)
    assert isinstance(tensor, np.ndarray)
    return tensor.T


def _floats(tensor: Tensor) -> np.ndarray:
    return tensor.dequantize() if isinstance(tensor, QuantizedTensor | BlockQuantizedTensor) else tensor
