"""The tables of rotary position embeddings (https://arxiv.org/abs/2104.09864): cosines and sines of every position.

In: `CausalLMConfig`. Out: weights ``rotary.cos`` and ``rotary.sin`` (and ``rotary.local_cos``, ``rotary.local_sin``
where local layers have a base of their own), float32 ``[context_length, head_dim / 2]``. The scalings are those of
transformers 4.57 (``modeling_rope_utils.py``, the function is named at each one), calculated in float32 as there, since
at position 8,000 the last bit of a frequency is half a thousandth of the angle. Refuses other scalings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgekit.errors import UnsupportedError
from edgekit.graph.causal_lm_config import CausalLMConfig

Array = np.ndarray

_MAX_FACTOR = 1e6  # far above any; cosines and sines stay finite


def rotary_tables(config: CausalLMConfig) -> dict[str, Array]:
    """The rotary weights of a model; none where it has learned positions.

    Raises:
        UnsupportedError: ``rope_scaling`` is of another kind, or lacks a number.
    """
    if config.position != "rotary":
        return {}
    frequencies, factor = _scaled(config)
    tables = _tables("rotary.", frequencies, factor, config.context_length)
    if config.local_rope_theta is not None:
        local = _frequencies(config.local_rope_theta, config.head_dim)
        tables |= _tables("rotary.local_", local, 1.0, config.context_length)
    return tables


def _tables(prefix: str, frequencies: Array, factor: float, length: int) -> dict[str, Array]:
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies[None]
    scale = np.float32(factor)
    return {f"{prefix}cos": np.cos(angles) * scale, f"{prefix}sin": np.sin(angles) * scale}


def _frequencies(theta: float, head_dim: int) -> Array:
    """``theta ** (-2i / head_dim)``: float32 ``[head_dim / 2]``."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    with np.errstate(all="ignore"):
        return np.float32(1) / np.float32(theta) ** exponents


def _scaled(config: CausalLMConfig) -> tuple[Array, float]:
    """The frequencies, and the factor on cosines and sines."""
    frequencies = _frequencies(config.rope_theta, config.head_dim)
    scaling = config.rope_scaling or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in _SCALINGS:
        raise UnsupportedError(
            f"unsupported {config.model_type} configuration: rope_scaling of type {kind!r} (expected one of "
            f"{', '.join(_SCALINGS)})"
        )
    needed, scale = _SCALINGS[kind]
    missing = [name for name in needed if type(scaling.get(name)) not in (int, float) or not scaling[name] > 0]
    if missing:
        raise UnsupportedError(
            f"unsupported {config.model_type} configuration: rope_scaling of type {kind} needs {', '.join(missing)} "
            "above 0"
        )
    try:
        with np.errstate(all="ignore"):
            scaled, factor = scale(frequencies, scaling, config)
    except (ArithmeticError, TypeError, ValueError):  # other numbers that are none, negative or in the wrong order
        scaled, factor = np.array([math.nan]), math.nan
    if not (np.isfinite(scaled).all() and abs(factor) < _MAX_FACTOR):
        raise UnsupportedError(
            f"unsupported {config.model_type} configuration: rope_theta={config.rope_theta!r} with "
            f"rope_scaling={dict(scaling)!r:.200} gives no wavelengths"
        )
    return scaled, factor


def _unscaled(frequencies: Array, scaling: Mapping[str, Any], config: CausalLMConfig) -> tuple[Array, float]:
    """No scaling: what "dynamic" (`_compute_dynamic_ntk_parameters`) is up to the context's length, too."""
    return frequencies, 1.0


def _linear(frequencies: Array, scaling: Mapping[str, Any], config: CausalLMConfig) -> tuple[Array, float]:
    """Positions divided by ``factor`` (`_compute_linear_scaling_rope_parameters`)."""
    return frequencies / np.float32(scaling["factor"]), 1.0


def _llama3(frequencies: Array, scaling: Mapping[str, Any], config: CausalLMConfig) -> tuple[Array, float]:
    """Long wavelengths divided by ``factor``, short ones kept, a ramp between (`_compute_llama3_parameters`)."""
    factor, low, high = (np.float32(scaling[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    turns = np.float32(scaling["original_max_position_embeddings"]) * frequencies / np.float32(2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - kept) * frequencies / factor + kept * frequencies, 1.0


def _yarn(frequencies: Array, scaling: Mapping[str, Any], config: CausalLMConfig) -> tuple[Array, float]:
    """YaRN (https://arxiv.org/abs/2309.00071, section 3.4; `_compute_yarn_parameters`)."""
    factor, dim = float(scaling["factor"]), config.head_dim
    original = scaling.get("original_max_position_embeddings") or config.context_length

    def dimension(turns: float) -> float:
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    low, high = dimension(scaling.get("beta_fast") or 32), dimension(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    width = high - low or 0.001
    divided = np.clip((np.arange(dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(width), 0, 1)
    return frequencies / np.float32(factor) * divided + frequencies * (1 - divided), _yarn_factor(scaling, factor)


def _yarn_factor(scaling: Mapping[str, Any], factor: float) -> float:
    """What cosines and sines are multiplied with, which scales attention by its square."""

    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

    if scaling.get("attention_factor") is not None:
        return float(scaling["attention_factor"])
    numerator, denominator = scaling.get("mscale"), scaling.get("mscale_all_dim")
    return scale(numerator) / scale(denominator) if numerator and denominator else scale(1)


_Scaling = Callable[[Array, Mapping[str, Any], CausalLMConfig], tuple[Array, float]]
_SCALINGS: dict[str, tuple[tuple[str, ...], _Scaling]] = {
    "default": ((), _unscaled),
    "dynamic": ((), _unscaled),
    "linear": (("factor",), _linear),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"), _llama3),
    "yarn": (("factor",), _yarn),
}
