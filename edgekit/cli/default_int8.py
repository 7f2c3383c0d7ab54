"""What the commands make of a model where no scheme is named: int8 is calibrated, if there is text for it.

In: a checkpoint, or an fp32 bundle. Out: a bundle, or the scheme and the calibration of one; what was calibrated on is
said in a line on stderr. `edgekit.gate.default_scheme` decides; everything else is exported as `edgekit.export` does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.cli.output import note, progress

if TYPE_CHECKING:
    from edgekit.export.sources.checkpoint import Checkpoint
    from edgekit.quantize.calibration import Calibration
    from edgekit.quantize.scheme import Scheme

Notify = Callable[[str], None]
# Kinds of checkpoints whose weights are floats, and whose languages are known before they are read.
TRANSLATORS = ("marian", "seq2seq")
LANGUAGE_MODELS = ("causal-lm", "gguf")
# Of each kind of model: what is done, and on pieces of what.
CALIBRATED_WHAT = {
    "seq2seq": ("activation scales calibrated", "sentences"),
    "causal-lm": ("activations smoothed as seen", "passages"),
}


def export_by_precision(
    checkpoint: Checkpoint,
    precision: str,
    target: Path | None,
    *,
    force: bool,
    notify: Notify = note,
    shortlist_text: Path | None = None,
) -> Path:
    """Exports a checkpoint as its precision means without a scheme; arguments and errors as `export_checkpoint`'s."""
    from edgekit.export import export_checkpoint

    if precision != "int8" or not _has_calibrated_default(checkpoint):
        return export_checkpoint(
            checkpoint, precision, target, shortlist_text=shortlist_text, force=force, notify=notify
        )
    from edgekit.gate.staging import keep_if_accepted
    from edgekit.quantize.bundle import quantize_bundle

    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="fp32-", dir=path.parent) as directory:
            fp32 = Path(directory) / "fp32"
            export_checkpoint(checkpoint, "fp32", fp32, shortlist_text=shortlist_text, notify=notify)
            scheme, calibration = calibrated_default(fp32, notify)
            quantize_bundle(fp32, precision, path, scheme=scheme, calibration=calibration)

    return keep_if_accepted(target or Path(f"{checkpoint.name}-{precision}"), force, make, lambda _: None)


def _has_calibrated_default(checkpoint: Checkpoint) -> bool:
    from edgekit.export.model import CausalLMModel
    from edgekit.export.pipeline import READERS
    from edgekit.gate.default_scheme import has_calibrated_default, has_smoothed_default

    if checkpoint.kind in LANGUAGE_MODELS:
        model = READERS[checkpoint.kind](checkpoint)
        return isinstance(model, CausalLMModel) and has_smoothed_default(model.config, model.source_quantization)
    is_translator = checkpoint.kind in TRANSLATORS and checkpoint.task == "translation"
    return is_translator and has_calibrated_default(checkpoint.languages["source"], checkpoint.languages["target"])


def calibrated_default(fp32: Path, notify: Notify = note) -> tuple[Scheme | None, Calibration | None]:
    """Scheme and calibration of an fp32 bundle's int8 where no scheme is named; (None, None) where it needs none."""
    from edgekit.bundle.read import open_bundle
    from edgekit.gate.default_scheme import calibrate_default, calibration_texts, is_calibrated_by_default

    manifest = open_bundle(fp32).manifest
    if not is_calibrated_by_default(manifest):
        return None, None
    with progress("calibrating", calibration_texts(manifest.kind)) as bar:
        scheme, calibration = calibrate_default(fp32, lambda _: bar.advance(1))
    what, pieces = CALIBRATED_WHAT[manifest.kind]
    notify(f"int8: {what} on {calibration.texts} {pieces} of edgekit's development text {calibration.name}")
    return scheme, calibration
