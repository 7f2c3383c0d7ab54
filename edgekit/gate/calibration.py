"""Calibration on development text: what the schemes with static, smoothed or activation-aware scales need.

In: an fp32 bundle, and a development set by name or file. Out: a `Calibration`. The texts are the first of a fixed
order of chance; translations are what the model itself says, so packaged sentences of the source language will do,
whatever they are paired with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgekit.bundle.manifest import Manifest
from edgekit.bundle.read import open_bundle
from edgekit.quality.development import development_pair, load_development_pairs, load_development_text
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
    name, pieces = _texts(open_bundle(fp32).manifest, dev)
    order = np.random.default_rng(ORDER_SEED).permutation(len(pieces))
    return calibrate(fp32, [pieces[index] for index in order[:texts]], limit=texts, name=name, progress=advance)


def _texts(manifest: Manifest, dev: str | None) -> tuple[str, Sequence[str]]:
    """The development text's name, and its sentences or passages."""
    if manifest.task == "translation":
        languages = (manifest.languages.source, manifest.languages.target)
        packaged = development_pair(*languages) if dev is None else None
        pairs = load_development_pairs(dev, *(packaged or languages))
        return pairs.name, pairs.sources
    text = load_development_text(dev)
    lines = text.text.split("\n")
    return text.name, ["\n".join(lines[start : start + LINES]) for start in range(0, len(lines), LINES)]
