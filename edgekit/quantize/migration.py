"""Moves scale from a product's inputs into its weights, where what stands before the product can undo it exactly.

``x @ W = (x / s) @ (s W)`` for any positive factors s, one for each input channel. The division is not calculated: it
goes into the weights before the product, so a migrated model is the same function and costs nothing more. Two rules:

- *SmoothQuant* (https://arxiv.org/abs/2211.10438, equation 4): ``s_j = max|x_j|^alpha / max|W_j|^(1 - alpha)``; large
  inputs become smaller and their weights larger, which int8 activations gain by.
- *AWQ* (https://arxiv.org/abs/2306.00978, equation 5): ``s_j = mean|x_j|^alpha``; inputs that are large on average get
  finer steps of the weight. Alpha, 0 to 1 in tenths, leaves the least squared error of the product over the sample.

Where a division goes (`find_absorber`): a norm's weight and bias, if nothing but the product sees the norm's output
(pre-norm networks); the values of an attention, which it only averages; the up projection behind a gate, or before a
ReLU. Nothing else is exact: the norm of a post-norm network is the residual too, a GELU lets no factor pass, and a tied
output layer would change what is looked up. Such matrices are refused by name.

In: float weights, a scheme, a calibration. Out: float weights and the calibration of the migrated model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UnsupportedError
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.tensors import Tensor
from edgekit.graph.weights_file import TABLES, Weights, channel_axis
from edgekit.quantize.blockwise import BlockFormat, quantize_blockwise
from edgekit.quantize.calibration import Calibration, ProductInputs
from edgekit.quantize.recover import recover_blocks
from edgekit.quantize.scheme import Format, Scheme

Floats = NDArray[np.float32]
Config = Seq2SeqConfig | CausalLMConfig

ALPHAS = tuple(np.linspace(0, 1, 11))
_SHOWN = 4


@dataclass(frozen=True)
class Absorber:
    """What takes the inverse of a product's factors: the last axis, from an index on, of some weights.

    Attributes:
        weights: names of a matrix ``[in, out]`` or a norm's weight, and of the bias beside it, if it has one.
        start: the index of the first channel.
        heads: heads of queries that share a value, side by side among the product's inputs; 1 where none do.
        head_dim: width of a head; 0 where channels are no heads'.
    """

    weights: tuple[str, ...]
    start: int = 0
    heads: int = 1
    head_dim: int = 0

    def shared(self, per_channel: Floats, combine: Callable[..., Floats]) -> Floats:
        """Of each channel that is divided, one number for the inputs that it feeds: ``[channels]``."""
        if self.heads == 1:
            return per_channel
        return combine(per_channel.reshape(-1, self.heads, self.head_dim), axis=1).ravel()

    def spread(self, factors: Floats) -> Floats:
        """The factors of the product's inputs, from those of the channels."""
        if self.heads == 1:
            return factors
        return factors.reshape(-1, 1, self.head_dim).repeat(self.heads, axis=1).ravel()


def migrate(
    config: Config, weights: Weights, scheme: Scheme, calibration: Calibration | None
) -> tuple[Weights, Calibration | None]:
    """The weights and the calibration after every migration that a scheme asks for; the same where it asks for none.

    Raises:
        UnsupportedError: a matrix that the scheme names has nothing before it that can take the inverse; all are named.
    """
    formats = {name: named for name in weights if is_migrated(named := scheme.format_of(name))}
    if calibration is None or not (formats := {n: f for n, f in formats.items() if n in calibration.inputs}):
        return weights, calibration
    absorbers = {name: find_absorber(config, weights, name) for name in formats}
    problems = [f"{name} ({found})" for name, found in absorbers.items() if isinstance(found, str)]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UnsupportedError(
            f"the inputs of {', '.join(problems[:_SHOWN])}{more} can't be scaled exactly; choose a scheme that doesn't "
            "smooth them"
        )
    migrated, inputs = dict(weights), dict(calibration.inputs)
    # What takes an inverse is another product's matrix: that one's own factors come after.
    for name in sorted(formats, key=lambda name: name.endswith((".qkv.weight", "up.weight"))):
        absorber = absorbers[name]
        assert isinstance(absorber, Absorber)
        factors = _factors(formats[name], _by_input(name, migrated[name]), inputs[name], absorber)
        migrated |= _apply(migrated, name, absorber, factors)
        inputs[name] = inputs[name].divided(absorber.spread(factors))
    return migrated, dataclasses.replace(calibration, inputs=inputs)


def _by_input(name: str, matrix: Tensor) -> Floats:
    """``[in, out]``, whichever way the matrix is stored; and back."""
    floats = np.asarray(matrix, np.float32)
    return floats.T if channel_axis(name) == 0 else floats


def is_migrated(named: Format) -> bool:
    """Whether a format moves scale from inputs into weights."""
    is_awq = isinstance(named, BlockFormat) and named.activation_aware
    return is_awq or (named is not None and named.smoothing is not None)


def find_absorber(config: Config, weights: Weights, name: str) -> Absorber | str:
    """What takes the inverse of the factors of a matrix's inputs, or why nothing can."""
    if not isinstance(weights[name], np.ndarray):
        return "the checkpoint ships it quantised"
    layer, _, product = name.removesuffix(".weight").rpartition(".")
    if product == "output" and layer.endswith("attention"):
        return _values(config, weights, layer)
    if product == "down":
        return _up(config, weights, layer)
    if name in TABLES and config.tied_output:
        return "it is the embedding too"
    if product == "key_value":
        return "every layer of the decoder has the same input"
    if isinstance(config, Seq2SeqConfig) and config.norm_position == "post":
        return "the norm before it is the residual too"
    last_norm = "decoder.final_norm" if isinstance(config, Seq2SeqConfig) else "final_norm"
    return _present(weights, last_norm if name in TABLES else f"{layer}.norm")


def _present(weights: Weights, layer: str, start: int = 0, heads: int = 1, head_dim: int = 0) -> Absorber | str:
    names = tuple(name for part in ("weight", "bias") if (name := f"{layer}.{part}") in weights)
    if not names:
        return f"the model has no {layer}"
    if not all(isinstance(weights[name], np.ndarray) for name in names):
        return f"the checkpoint ships {layer} quantised"
    return Absorber(names, start, heads, head_dim)


def _values(config: Config, weights: Weights, block: str) -> Absorber | str:
    if isinstance(config, CausalLMConfig):
        heads = config.attention_heads // config.key_value_heads
        return _present(weights, f"{block}.qkv", config.query_width + config.key_value_width, heads, config.head_dim)
    width = weights[f"{block}.output.weight"].shape[0]
    if block.endswith("cross_attention"):
        return _present(weights, f"{block}.key_value", width)
    return _present(weights, f"{block}.qkv", 2 * width)


def _up(config: Config, weights: Weights, block: str) -> Absorber | str:
    if config.gated_ffn:
        return _present(weights, f"{block}.gate_up", weights[f"{block}.down.weight"].shape[0])
    if config.activation_function != "relu":
        return f"{config.activation_function} before it lets no factor pass"
    return _present(weights, f"{block}.up")


def _factors(named: Format, matrix: Floats, inputs: ProductInputs, absorber: Absorber) -> Floats:
    """One factor for each channel of the absorber."""
    if isinstance(named, BlockFormat) and named.activation_aware:
        return awq_factors(named, matrix, inputs, absorber)
    assert named is not None
    assert named.smoothing is not None
    largest_weight = absorber.shared(np.abs(matrix).max(axis=1), np.max)
    return smoothquant_factors(absorber.shared(inputs.largest, np.max), largest_weight, named.smoothing)


def smoothquant_factors(largest_input: Floats, largest_weight: Floats, alpha: float) -> Floats:
    """SmoothQuant's equation 4, ``float32 [channels]``; 1 where a channel's inputs or weights are all zero."""
    usable = (largest_input > 0) & (largest_weight > 0)
    x, w = (np.where(usable, values, 1).astype(np.float64) for values in (largest_input, largest_weight))
    return (x**alpha / w ** (1 - alpha)).astype(np.float32)


def awq_factors(named: BlockFormat, matrix: Floats, inputs: ProductInputs, absorber: Absorber) -> Floats:
    """AWQ's factors of the alpha that leaves the least error over the sample; 1 for all if that is no migration.

    As in AWQ's own code (``auto_scale.py`` of mit-han-lab/llm-awq) they are divided by the geometric mean of the
    largest and the smallest, and a channel without inputs counts as one of 1e-4.
    """
    mean = np.maximum(absorber.shared(inputs.mean_absolute, np.mean).astype(np.float64), 1e-4)
    rounding = dataclasses.replace(named, least_error=False)
    expected = inputs.sample @ matrix
    best, least = np.ones(mean.shape, np.float32), np.inf
    for alpha in ALPHAS:
        powers = mean**alpha
        factors = (powers / np.sqrt(powers.max() * powers.min())).astype(np.float32)
        spread = absorber.spread(factors)
        scaled = matrix * spread[:, None]
        tensor = (recover_blocks(scaled) if named.bits == 4 else None) or quantize_blockwise(scaled, rounding)
        error = float(np.square((inputs.sample / spread) @ tensor.dequantize() - expected, dtype=np.float64).sum())
        if error < least:
            best, least = factors, error
    return best


def _apply(weights: Mapping[str, Tensor], name: str, absorber: Absorber, factors: Floats) -> dict[str, Tensor]:
    """The weights that a migration changes."""
    scaled = _by_input(name, weights[name]) * absorber.spread(factors)[:, None]
    changed: dict[str, Tensor] = {name: np.ascontiguousarray(_by_input(name, scaled))}
    for absorbing in absorber.weights:
        divided = np.array(weights[absorbing], np.float32)
        divided[..., absorber.start : absorber.start + len(factors)] /= factors
        changed[absorbing] = divided
    return changed
