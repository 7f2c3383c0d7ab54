"""An fp32 bundle to an int8 one, from the bundle alone: weights read back, quantised, graphs built anew."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from edgekit.bundle.manifest import Manifest
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.bundle.write import stage_bundle, write_manifest
from edgekit.errors import BundleError, InputError
from edgekit.graph.check import check_graphs, record_self_check
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.seq2seq import BEAM_DECODER_FILE, DECODER_FILE, ENCODER_FILE, write_graphs
from edgekit.graph.tensors import Tensor
from edgekit.graph.weight_shapes import check_shapes
from edgekit.graph.weights_file import WEIGHTS_FILE, load_weights
from edgekit.quantize.weights import quantize_weights

REBUILT = (ENCODER_FILE, DECODER_FILE, BEAM_DECODER_FILE, WEIGHTS_FILE)


def quantize_bundle(source: Path, precision: str = "int8", output: Path | None = None, *, force: bool = False) -> Path:
    """Writes an int8 bundle beside an fp32 one.

    Args:
        source: the fp32 bundle.
        precision: "int8".
        output: the new bundle's directory; None for ``./<name>-<precision>``.
        force: replace an existing bundle.

    Returns:
        The new bundle's directory.

    Raises:
        InputError: another precision, or the bundle is not fp32.
        BundleError: the bundle is missing or damaged.
        OutputError: the output exists or can't be written.
    """
    if precision != "int8":
        raise InputError(f"unknown precision {precision!r}: expected int8")
    bundle = open_bundle(source)
    if bundle.manifest.precision != "fp32":
        raise InputError(f"{source} is {bundle.manifest.precision} already; quantize takes an fp32 bundle")
    target = output or Path(f"{bundle.manifest.name}-{precision}")
    with stage_bundle(target, force) as directory:
        _write(directory, bundle, precision)
    return target


def _write(directory: Path, bundle: Bundle, precision: str) -> Manifest:
    manifest = bundle.manifest
    config = Seq2SeqConfig.from_dict(manifest.architecture)
    if config.has_shortlist != (manifest.shortlist is not None):
        raise BundleError(f"{bundle.path}: architecture.has_shortlist and shortlist disagree; export the model again")
    weights = _read_weights(bundle)
    check_shapes(config, weights, str(bundle.path))
    weights = quantize_weights(weights)
    files = write_graphs(directory, config, weights, precision)
    check_graphs(directory, config, weights, precision)
    for name in manifest.files:
        if name not in REBUILT:
            shutil.copyfile(bundle.file(name), directory / name)
    quantized = dataclasses.replace(
        manifest,
        precision=precision,
        quantization=files.quantization,
        graphs=files.graphs,
        state=files.state,
        measured=None,
    )
    return write_manifest(directory, record_self_check(directory, quantized))


def _read_weights(bundle: Bundle) -> dict[str, Tensor]:
    return load_weights(bundle.file(WEIGHTS_FILE), bundle.manifest.quantization.tensors)
