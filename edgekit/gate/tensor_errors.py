"""A quantised bundle tensor by tensor: what it is stored as, how far off it is, what that costs, and its time.

In: a quantised bundle and its fp32 one, development text. Out: a `TensorError` for each quantised tensor. The error of
the weights is given as a signal-to-noise ratio, ``10 log10(sum w^2 / sum (w - w')^2)`` decibels (6 dB a bit); what
reaches the output is the divergence where that tensor alone is quantised (`edgekit.gate.sensitivity`); the share of
time is that of the bundle's own graphs (`edgekit.gate.node_times`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.bundle.manifest import TensorQuantization
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.errors import InputError, UnsupportedError
from edgekit.gate.acceptance import development_for
from edgekit.gate.forced import changes_of, weights_of
from edgekit.gate.node_times import measure_times
from edgekit.gate.sensitivity import Probe, companions, moved_scales, quantized_names
from edgekit.graph.tensors import Tensor
from edgekit.graph.weights_file import arrays_of

__all__ = ["ErrorReport", "TensorError", "measure_errors"]


@dataclass(frozen=True)
class TensorError:
    """One tensor of a quantised bundle.

    Attributes:
        name: in the weights file.
        scheme: in words: ``int8 per-channel, activations per-row``.
        shape: of the matrix.
        bits_per_weight: all that is stored of it, scales and zero points included.
        snr_db: weight signal-to-noise ratio; None where the weights are exactly the fp32 bundle's.
        output_kl: divergence in nats a token where it alone is quantised.
        time_share: its share of the time of all nodes, 0 to 1.
    """

    name: str
    scheme: str
    shape: tuple[int, ...]
    bits_per_weight: float
    snr_db: float | None
    output_kl: float
    time_share: float


@dataclass(frozen=True)
class ErrorReport:
    """All tensors of a bundle, those that cost most first.

    Attributes:
        against: the fp32 bundle's path.
        text: name of the development text.
        tokens: predictions that each divergence is the mean of.
        micros: time of all nodes, a sentence or a token, in microseconds.
        tensors: one an entry of the manifest's.
        together_kl: divergence of the bundle, all tensors quantised.
    """

    against: str
    text: str
    tokens: int
    micros: float
    tensors: tuple[TensorError, ...]
    together_kl: float


def measure_errors(
    bundle: Path, against: Path, dev: str | None = None, advance: Callable[[int], None] = lambda _: None
) -> ErrorReport:
    """Measures each quantised tensor of a bundle.

    Args:
        bundle: a quantised bundle.
        against: the fp32 bundle of the same weights.
        dev: a development set's name or a file; None for what is packaged.
        advance: counts tensors.

    Raises:
        InputError: the bundles are not such a pair, or the text can't be used.
        UnsupportedError: the scheme moved scales from tensor to tensor (SmoothQuant, AWQ).
    """
    quantized, fp32 = open_bundle(bundle), open_bundle(against)
    check_pair(quantized, fp32)
    manifest = quantized.manifest
    development = development_for(manifest, dev)
    probe, weights = Probe(fp32, development), weights_of(quantized)
    if moved := moved_scales(weights, probe.model):
        raise UnsupportedError(
            f"{bundle}: its scheme moved scales between tensors ({', '.join(moved[:3])}), so that none can be measured "
            "alone; inspect a bundle of another scheme"
        )
    times = measure_times(probe, changes_of(weights, probe.model), manifest.precision)
    tensors = []
    for name in quantized_names(weights):
        cost = probe.cost(companions(weights, name), manifest.precision)
        entry = manifest.quantization.tensors[name]
        share = times.tensors.get(name, 0.0) / times.total
        original = probe.model.weights[name]
        tensors.append(_tensor_error(name, entry, weights[name], original, cost, share))
        advance(1)
    together = probe.cost(changes_of(weights, probe.model), manifest.precision)
    ordered = tuple(sorted(tensors, key=lambda tensor: -tensor.output_kl))
    return ErrorReport(str(against), development.name, probe.tokens, times.total, ordered, together)


def check_pair(quantized: Bundle, fp32: Bundle) -> None:
    """Refuses bundles that are not a quantised one and the fp32 one of the same weights.

    Raises:
        InputError: they are not.
    """
    if quantized.manifest.precision == "fp32":
        raise InputError(f"{quantized.path} is fp32 itself; its errors would all be nothing: give a quantised bundle")
    if fp32.manifest.precision != "fp32":
        raise InputError(f"{fp32.path} is {fp32.manifest.precision}; --against takes the fp32 bundle of the same model")
    if fp32.manifest.source != quantized.manifest.source:
        raise InputError(
            f"{fp32.path} was made from {fp32.manifest.source.id}, {quantized.path} from "
            f"{quantized.manifest.source.id} or another version of it: export both from the same files"
        )


def _tensor_error(
    name: str, entry: TensorQuantization, tensor: Tensor, original: np.ndarray, cost: float, share: float
) -> TensorError:
    stored = sum(array.nbytes for array in arrays_of({name: tensor}).values())
    weights = tensor if isinstance(tensor, np.ndarray) else tensor.dequantize()
    return TensorError(
        name, describe_scheme(entry), tuple(original.shape), 8 * stored / original.size, _snr(original, weights),
        cost, share,
    )  # fmt: skip


def describe_scheme(entry: TensorQuantization) -> str:
    """A manifest's entry in words: ``uint4 per-block of 32, zero points, activations per-block``."""
    words = f"{entry.dtype} {entry.granularity}" + (f" of {entry.block_size}" if entry.block_size else "")
    parts = [words]
    parts += ["zero points"] * (entry.zero_point is not None) + ["offsets"] * (entry.offset is not None)
    if entry.activations:
        parts.append(f"activations {entry.activations}")
    return ", ".join(parts)


def _snr(original: np.ndarray, weights: np.ndarray) -> float | None:
    noise = float(np.square(weights - original, dtype=np.float64).sum())
    signal = float(np.square(original, dtype=np.float64).sum())
    return None if noise == 0 or signal == 0 else 10 * math.log10(signal / noise)
