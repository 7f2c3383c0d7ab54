"""Calibration on development text: what the schemes with static, smoothed or activation-aware scales need.

In: an fp32 bundle, and a development set by name or file. Out: a `Calibration`. The texts are the first of a fixed
order of chance; translations are what the model itself says.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekit.bundle.read import open_bundle
from edgekit.gate.acceptance import development_for
from edgekit.quality.parallel_text import TestSet
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.calibration import Calibration

__all__ = ["calibrate_on_development"]

ORDER_SEED = 2027
# A running text is cut into pieces of so many lines: some 256 tokens each.
LINES = 4


def calibrate_on_development(
    fp32: Path, dev: str | None, texts: int, advance: Callable[[int], None] = lambda _: None
) -> Calibration:
    """Statistics of a bundle's activations on at most ``texts`` sentences or passages of development text.

    Raises:
        InputError: the development text can't be used.
    """
    development = development_for(open_bundle(fp32).manifest, dev)
    if isinstance(development, TestSet):
        pieces = list(development.sources)
    else:
        lines = development.text.split("\n")
        pieces = ["\n".join(lines[start : start + LINES]) for start in range(0, len(lines), LINES)]
    order = np.random.default_rng(ORDER_SEED).permutation(len(pieces))
    return calibrate(fp32, [pieces[index] for index in order[:texts]], limit=texts, progress=advance)
