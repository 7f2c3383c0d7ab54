"""What int8 is where no scheme is named: static scales for a translator whose source language has packaged text.

A translator with static scales takes about three quarters of the time that it takes with dynamic ones, for chrF within
the noise of a development set (docs/quantisation.md); but it takes text. In: a checkpoint's or a bundle's kind and
languages. Out: the scheme, and an fp32 bundle's calibration for it. What a checkpoint quantised itself, as Firefox's
models are, keeps its own scales; all other models keep the scheme that their precision means.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgekit.bundle.manifest import Manifest
from edgekit.gate.calibration import calibrate_on_development
from edgekit.quality.development import development_pair
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.scheme import Scheme, named_scheme

__all__ = ["CALIBRATED", "CALIBRATION_TEXTS", "calibrate_default", "has_calibrated_default", "is_calibrated_by_default"]

CALIBRATED = "int8-static"
# Some 2,300 tokens of the embedded model: its scales are within 5 % (RMS) of those of 700 sentences.
CALIBRATION_TEXTS = 64


def has_calibrated_default(source_language: str | None, target_language: str | None) -> bool:
    """Whether text is packaged that a translator of floats between these languages is calibrated on for int8."""
    return development_pair(source_language, target_language) is not None


def is_calibrated_by_default(fp32: Manifest) -> bool:
    """Whether int8 of an fp32 bundle is `CALIBRATED`."""
    if fp32.task != "translation" or fp32.kind != "seq2seq" or fp32.quantization.tensors:
        return False
    return has_calibrated_default(fp32.languages.source, fp32.languages.target)


def calibrate_default(fp32: Path, advance: Callable[[int], None] = lambda _: None) -> tuple[Scheme, Calibration]:
    """Scheme and calibration of an fp32 bundle for which `is_calibrated_by_default`.

    Args:
        fp32: the bundle.
        advance: called after each text with the number of texts so far.
    """
    calibration = calibrate_on_development(fp32, None, CALIBRATION_TEXTS, advance)
    return named_scheme("seq2seq", CALIBRATED), calibration
