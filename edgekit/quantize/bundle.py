"""An fp32 bundle to a quantised one, from the bundle alone: weights read back, quantised, graphs built anew."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgekit.bundle.manifest import Manifest
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.bundle.write import stage_bundle, write_manifest
from edgekit.errors import BundleError, InputError, UnsupportedError
from edgekit.graph.causal_lm import MODEL_FILE, write_causal_lm
from edgekit.graph.causal_lm_check import check_causal_lm, record_continuation
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.causal_lm_weights import check_weights
from edgekit.graph.check import check_graphs, record_self_check
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.describe import GraphFiles
from edgekit.graph.foreign import IMPORTED
from edgekit.graph.rotary import rotary_tables
from edgekit.graph.seq2seq import BEAM_DECODER_FILE, DECODER_FILE, ENCODER_FILE, write_graphs
from edgekit.graph.tensors import Tensor
from edgekit.graph.weight_shapes import check_shapes
from edgekit.graph.weights_file import WEIGHTS_FILE, Weights, load_weights
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.imported import write_imported
from edgekit.quantize.migration import Config, migrate
from edgekit.quantize.scheme import SCHEMES, Scheme, named_scheme
from edgekit.quantize.weights import quantize_weights

REBUILT = (ENCODER_FILE, DECODER_FILE, BEAM_DECODER_FILE, MODEL_FILE, WEIGHTS_FILE)
QUANTIZED = ("int8", "int4")


def quantize_bundle(
    source: Path,
    precision: str | None = None,
    output: Path | None = None,
    *,
    scheme: Scheme | None = None,
    calibration: Calibration | None = None,
    force: bool = False,
) -> Path:
    """Writes an int8 or int4 bundle beside an fp32 one.

    Args:
        source: the fp32 bundle.
        precision: "int8", or for a decoder-only model "int4"; None for that of ``scheme``, or "int8".
        output: the new bundle's directory; None for ``./<name>-<precision>``.
        scheme: what becomes of which matrix; None for what the precision means (`named_scheme`).
        calibration: of this very bundle (`edgekit.quantize.calibrate`); for schemes that need one.
        force: replace an existing bundle.

    Returns:
        The new bundle's directory.

    Raises:
        InputError: another precision, the bundle is not fp32, or a calibration is missing or another model's.
        UnsupportedError: the bundle's kind of model has no such precision.
        BundleError: the bundle is missing or damaged.
        OutputError: the output exists or can't be written.
    """
    if precision is None:
        precision = "int8" if scheme is None else scheme.precision
    if precision not in QUANTIZED:
        raise InputError(f"unknown precision {precision!r}: expected {' or '.join(QUANTIZED)}")
    if scheme is not None and scheme.precision != precision:
        raise InputError(f"the scheme makes an {scheme.precision} bundle, not an {precision} one; leave precision out")
    bundle = open_bundle(source)
    manifest = bundle.manifest
    if manifest.precision != "fp32":
        raise InputError(f"{source} is {manifest.precision} already; quantize takes an fp32 bundle")
    if precision not in SCHEMES[manifest.kind]:
        raise UnsupportedError(f"a {manifest.kind} model has no {precision}; choose int8")
    scheme = scheme or named_scheme(manifest.kind, precision)
    _check_calibration(bundle, scheme, calibration)
    target = output or Path(f"{manifest.name}-{precision}")
    with stage_bundle(target, force) as directory:
        _write(directory, bundle, _Wanted(precision, scheme, calibration))
    return target


def _check_calibration(bundle: Bundle, scheme: Scheme, calibration: Calibration | None) -> None:
    if calibration is None:
        if scheme.needs_calibration:
            raise InputError("the scheme needs a calibration of this bundle's activations; run `calibrate` over texts")
        return
    if calibration.weights_sha256 != bundle.manifest.files[WEIGHTS_FILE].sha256:
        raise InputError(f"{bundle.path}: the calibration is of other weights; calibrate this bundle")


@dataclass(frozen=True)
class _Wanted:
    precision: str
    scheme: Scheme
    calibration: Calibration | None


def _write(directory: Path, bundle: Bundle, wanted: _Wanted) -> Manifest:
    manifest, measured = bundle.manifest, None
    if wanted.calibration is not None and wanted.scheme.needs_calibration:
        measured = {"calibration": wanted.calibration.as_measured()}
    is_seq2seq = manifest.kind == "seq2seq"
    write, record = (_write_seq2seq, record_self_check) if is_seq2seq else (_write_causal_lm, record_continuation)
    if manifest.architecture.get(IMPORTED) is True:
        files = write_imported(directory, bundle, wanted.precision, wanted.scheme, wanted.calibration)
    else:
        files = write(directory, bundle, wanted)
    for name in manifest.files:
        if name not in REBUILT:
            shutil.copyfile(bundle.path_of(name), directory / name)
    quantized = dataclasses.replace(
        manifest,
        precision=wanted.precision,
        quantization=dataclasses.replace(files.quantization, source=manifest.quantization.source),
        graphs=files.graphs,
        state=files.state,
        measured=measured,
    )
    return write_manifest(directory, record(directory, quantized))


def _write_seq2seq(directory: Path, bundle: Bundle, wanted: _Wanted) -> GraphFiles:
    config = Seq2SeqConfig.from_dict(bundle.manifest.architecture)
    if config.has_shortlist != (bundle.manifest.shortlist is not None):
        raise BundleError(f"{bundle.path}: architecture.has_shortlist and shortlist disagree; export the model again")
    weights = _read_weights(bundle)
    check_shapes(config, weights, str(bundle.path))
    weights = quantize_weights(*_migrated(config, weights, wanted))
    files = write_graphs(directory, config, weights, wanted.precision)
    check_graphs(directory, config, weights, wanted.precision)
    return files


def _write_causal_lm(directory: Path, bundle: Bundle, wanted: _Wanted) -> GraphFiles:
    config = CausalLMConfig.from_dict(bundle.manifest.architecture)
    weights = _read_weights(bundle)
    check_weights(config, weights, str(bundle.path), BundleError)
    # These are calculated from the configuration whenever a graph is written.
    tables = rotary_tables(config)
    weights = {name: weight for name, weight in weights.items() if name not in tables}
    weights = quantize_weights(*_migrated(config, weights, wanted))
    files = write_causal_lm(directory, config, weights, wanted.precision)
    check_causal_lm(directory, config, {**weights, **tables}, wanted.precision)
    return files


def _migrated(config: Config, weights: Weights, wanted: _Wanted) -> tuple[Weights, Scheme, Calibration | None]:
    """What `quantize_weights` takes, after the migrations that the scheme asks for."""
    weights, calibration = migrate(config, weights, wanted.scheme, wanted.calibration)
    return weights, wanted.scheme, calibration


def _read_weights(bundle: Bundle) -> dict[str, Tensor]:
    return load_weights(bundle.path_of(WEIGHTS_FILE), bundle.manifest.quantization.tensors)
