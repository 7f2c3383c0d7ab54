"""An fp32 bundle to a quantised one, from the bundle alone: weights read back, quantised, graphs built anew."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from edgekit.bundle.manifest import Manifest
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.bundle.write import stage_bundle, write_manifest
from edgekit.errors import BundleError, InputError
from edgekit.graph.causal_lm import MODEL_FILE, write_causal_lm
from edgekit.graph.causal_lm_check import check_causal_lm, record_continuation
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.causal_lm_weights import check_weights
from edgekit.graph.check import check_graphs, record_self_check
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.describe import GraphFiles
from edgekit.graph.rotary import rotary_tables
from edgekit.graph.seq2seq import BEAM_DECODER_FILE, DECODER_FILE, ENCODER_FILE, write_graphs
from edgekit.graph.tensors import Tensor
from edgekit.graph.weight_shapes import check_shapes
from edgekit.graph.weights_file import WEIGHTS_FILE, load_weights
from edgekit.quantize.scheme import Scheme, scheme_for
from edgekit.quantize.weights import quantize_weights

REBUILT = (ENCODER_FILE, DECODER_FILE, BEAM_DECODER_FILE, MODEL_FILE, WEIGHTS_FILE)
QUANTIZED = ("int8", "int4")


def quantize_bundle(source: Path, precision: str = "int8", output: Path | None = None, *, force: bool = False) -> Path:
    """Writes an int8 or int4 bundle beside an fp32 one.

    Args:
        source: the fp32 bundle.
        precision: "int8", or for a decoder-only model "int4".
        output: the new bundle's directory; None for ``./<name>-<precision>``.
        force: replace an existing bundle.

    Returns:
        The new bundle's directory.

    Raises:
        InputError: another precision, or the bundle is not fp32.
        UnsupportedError: the bundle's kind of model has no such precision.
        BundleError: the bundle is missing or damaged.
        OutputError: the output exists or can't be written.
    """
    if precision not in QUANTIZED:
        raise InputError(f"unknown precision {precision!r}: expected {' or '.join(QUANTIZED)}")
    bundle = open_bundle(source)
    if bundle.manifest.precision != "fp32":
        raise InputError(f"{source} is {bundle.manifest.precision} already; quantize takes an fp32 bundle")
    scheme = scheme_for(bundle.manifest.kind, precision)
    target = output or Path(f"{bundle.manifest.name}-{precision}")
    with stage_bundle(target, force) as directory:
        _write(directory, bundle, precision, scheme)
    return target


def _write(directory: Path, bundle: Bundle, precision: str, scheme: Scheme) -> Manifest:
    manifest = bundle.manifest
    is_seq2seq = manifest.kind == "seq2seq"
    write, record = (_write_seq2seq, record_self_check) if is_seq2seq else (_write_causal_lm, record_continuation)
    files = write(directory, bundle, precision, scheme)
    for name in manifest.files:
        if name not in REBUILT:
            shutil.copyfile(bundle.file(name), directory / name)
    quantized = dataclasses.replace(
        manifest,
        precision=precision,
        quantization=dataclasses.replace(files.quantization, source=manifest.quantization.source),
        graphs=files.graphs,
        state=files.state,
        measured=None,
    )
    return write_manifest(directory, record(directory, quantized))


def _write_seq2seq(directory: Path, bundle: Bundle, precision: str, scheme: Scheme) -> GraphFiles:
    config = Seq2SeqConfig.from_dict(bundle.manifest.architecture)
    if config.has_shortlist != (bundle.manifest.shortlist is not None):
        raise BundleError(f"{bundle.path}: architecture.has_shortlist and shortlist disagree; export the model again")
    weights = _read_weights(bundle)
    check_shapes(config, weights, str(bundle.path))
    weights = quantize_weights(weights, scheme)
    files = write_graphs(directory, config, weights, precision)
    check_graphs(directory, config, weights, precision)
    return files


def _write_causal_lm(directory: Path, bundle: Bundle, precision: str, scheme: Scheme) -> GraphFiles:
    config = CausalLMConfig.from_dict(bundle.manifest.architecture)
    weights = _read_weights(bundle)
    check_weights(config, weights, str(bundle.path), BundleError)
    # These are calculated from the configuration whenever a graph is written.
    tables = rotary_tables(config)
    weights = quantize_weights({name: weight for name, weight in weights.items() if name not in tables}, scheme)
    files = write_causal_lm(directory, config, weights, precision)
    check_causal_lm(directory, config, {**weights, **tables}, precision)
    return files


def _read_weights(bundle: Bundle) -> dict[str, Tensor]:
    return load_weights(bundle.file(WEIGHTS_FILE), bundle.manifest.quantization.tensors)
