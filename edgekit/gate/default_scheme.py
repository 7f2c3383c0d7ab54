"""What int8 is where no scheme is named: calibrated, for models of floats that text is packaged for.

A translator with static scales takes about three quarters of the time that it takes with dynamic ones, for chrF within
the noise of a development set; a language model in smoothed blocks of 64 writes 1.2 times as many tokens a second as
in blocks of 32, for the same perplexity (docs/quantisation.md). Both take text. In: a checkpoint's or a bundle's kind,
languages and configuration. Out: the scheme, and an fp32 bundle's calibration for it. What a checkpoint quantised
itself to int8, as Firefox's models and GGUF files of Q8_0 are, keeps its own scales; all other models keep the scheme
that their precision means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from edgekit.bundle.manifest import Manifest
from edgekit.bundle.read import open_bundle
from edgekit.gate.calibration import calibrate_on_development
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.causal_lm_weights import ROTARY, weight_shapes
from edgekit.graph.foreign import IMPORTED
from edgekit.quality.development import development_pair, has_development_text
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.scheme import Scheme, named_scheme

__all__ = [
    "CALIBRATED",
    "calibrate_default",
    "calibration_texts",
    "has_calibrated_default",
    "has_smoothed_default",
    "is_calibrated_by_default",
]

CALIBRATED = {"seq2seq": "int8-static", "causal-lm": "int8-smooth-blocks"}
# Some 2,300 tokens of the embedded model: its scales are within 5 % (RMS) of those of 700 sentences.
CALIBRATION_TEXTS = 64
# Some 3,400 tokens of SmolLM2-135M: 11,400 were no better.
CALIBRATION_PASSAGES = 16
# Calibration runs the fp32 model, which took ten bytes a weight (SmolLM2-135M): 5 GB.
MOST_PARAMETERS = 500_000_000
Q8_0 = "Q8_0"


def has_calibrated_default(source_language: str | None, target_language: str | None) -> bool:
    """Whether text is packaged that a translator of floats between these languages is calibrated on for int8."""
    return development_pair(source_language, target_language) is not None


def has_smoothed_default(config: CausalLMConfig, source_quantization: str | None) -> bool:
    """Whether a language model is calibrated for int8.

    Args:
        config: its configuration; the inputs of a feed-forward block without a gate can't be smoothed.
        source_quantization: the manifest's ``quantization.source``: what its checkpoint's matrices were stored as.
    """
    if source_quantization == Q8_0 or not config.gated_ffn or not has_development_text():
        return False
    stored = (shape for name, shape in weight_shapes(config) if not name.startswith(ROTARY))
    return sum(map(math.prod, stored)) <= MOST_PARAMETERS


def is_calibrated_by_default(fp32: Manifest) -> bool:
    """Whether int8 of an fp32 bundle is `CALIBRATED`."""
    if fp32.quantization.tensors:
        return False
    if fp32.kind == "causal-lm":
        is_imported = fp32.architecture.get(IMPORTED) is True
        return not is_imported and has_smoothed_default(
            CausalLMConfig.from_dict(fp32.architecture), fp32.quantization.source
        )
    return fp32.task == "translation" and has_calibrated_default(fp32.languages.source, fp32.languages.target)


def calibration_texts(kind: str) -> int:
    """On how many sentences, or passages of running text, a kind of model is calibrated."""
    return CALIBRATION_TEXTS if kind == "seq2seq" else CALIBRATION_PASSAGES


def calibrate_default(fp32: Path, advance: Callable[[int], None] = lambda _: None) -> tuple[Scheme, Calibration]:
    """Scheme and calibration of an fp32 bundle for which `is_calibrated_by_default`.

    Args:
        fp32: the bundle.
        advance: called after each text with the number of texts so far.
    """
    kind = open_bundle(fp32).manifest.kind
    calibration = calibrate_on_development(fp32, None, calibration_texts(kind), advance)
    return named_scheme(kind, CALIBRATED[kind]), calibration
