"""A calibration of made-up inputs for each product of a model, some channels much larger than others."""

import numpy as np

from edgekit.quantize.calibration import Calibration, ProductInputs

RANDOM = np.random.default_rng(3)


def inputs_of(width):
    sample = RANDOM.normal(size=(8, width)).astype(np.float32) * np.exp(RANDOM.normal(size=width)).astype(np.float32)
    magnitudes = np.abs(sample)
    statistics = (magnitudes.max(axis=0), magnitudes.mean(axis=0), np.square(sample).mean(axis=0))
    return ProductInputs(8, *statistics, sample)


def calibration_of(weights):
    matrices = {name: weight for name, weight in weights.items() if weight.ndim == 2 and "positions" not in name}
    tables = [name for name in matrices if "embedding" in name or name == "output.weight"]
    widths = {name: weight.shape[int(name in tables)] for name, weight in matrices.items()}
    return Calibration("", 1, 8, 0, {name: inputs_of(width) for name, width in widths.items()})
