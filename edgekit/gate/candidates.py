"""The formats that a search chooses among, and a model's tensors in each of them.

In: an fp32 bundle's weights. Out: `Candidate`s by name: all matrices quantised in one format. A format that a scheme of
edgekit has is a candidate if what it calculates differs from the others in time, size or error; those that rewrite two
tensors at once (SmoothQuant, AWQ) are not, since a mix decides tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.gate.forced import FloatModel
from edgekit.graph.tensors import Tensor
from edgekit.quantize.blockwise import BlockFormat
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.scheme import SCHEMES, ChannelFormat, Format, Scheme
from edgekit.quantize.weights import quantize_weights

__all__ = ["FLOAT", "Candidate", "candidate_formats", "make_candidate", "mix_scheme", "searched_names"]

FLOAT = "fp32"
# 2-D tensors that are no matrices of products: added, or calculated from the configuration.
NOT_SEARCHED = ("positions.weight", "rotary.")

FORMATS: dict[str, dict[str, Format]] = {
    "seq2seq": {
        FLOAT: None,
        "int8": ChannelFormat(),
        "int8-static": ChannelFormat("static"),
        "int8-weights": ChannelFormat("float"),
    },
    "causal-lm": {
        FLOAT: None,
        "int8": SCHEMES["causal-lm"]["int8"].matrices,
        "int8-64": SCHEMES["causal-lm"]["int8-smooth-blocks"].format_of("embedding.weight"),
        "int8-128": BlockFormat(8, 128),
        "int8-compact": SCHEMES["causal-lm"]["int4-compact"].format_of("embedding.weight"),
        "int4": SCHEMES["causal-lm"]["int4"].matrices,
        "int4-compact": SCHEMES["causal-lm"]["int4-compact"].matrices,
        "int4-64": BlockFormat(4, 64, symmetric=False),
    },
}


@dataclass(frozen=True)
class Candidate:
    """All searched tensors of a model in one format; ``changes`` are those and their companions, by name."""

    name: str
    format: Format
    changes: Mapping[str, Tensor]


def candidate_formats(model: FloatModel) -> dict[str, Format]:
    """The formats for a model; one that was shipped in int8 has that in the place of fp32."""
    formats = dict(FORMATS[model.bundle.manifest.kind])
    if model.shipped:
        del formats[FLOAT]
    return formats


def searched_names(model: FloatModel) -> list[str]:
    """The tensors that a format is chosen for."""
    return [
        name
        for name, weight in model.weights.items()
        if weight.ndim == 2 and name.endswith(".weight") and not any(part in name for part in NOT_SEARCHED)
    ]


def make_candidate(model: FloatModel, name: str, named: Format, calibration: Calibration | None) -> Candidate:
    """Quantises all searched tensors in one format."""
    weights: dict[str, Tensor] = {key: model.shipped.get(key, model.weights[key]) for key in searched_names(model)}
    quantized = quantize_weights(weights, Scheme(named), calibration)
    changes = {
        key: tensor for key, tensor in quantized.items() if not isinstance(tensor, np.ndarray) or key not in weights
    }
    return Candidate(name, named, changes)


def mix_scheme(formats: Mapping[str, Format], chosen: Mapping[str, str]) -> Scheme:
    """The scheme of a mix: every tensor by its name, all others as they are."""
    return Scheme(None, tuple((name, formats[of_tensor]) for name, of_tensor in chosen.items()))
