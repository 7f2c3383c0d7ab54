"""An imported fp32 bundle to a quantised one: its graphs are copied, and their products follow the weights.

In: a bundle whose graphs `edgekit.export.onnx_import` wrote. Out: graphs over quantised weights. Arithmetic and schemes
are those of edgekit's own models; which matrices there are, the graphs say. Refused: schemes that move outliers between
layers, for which a graph's architecture would have to be known.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.bundle.read import Bundle
from edgekit.errors import EdgekitError, UnsupportedError
from edgekit.graph.check import logits_difference
from edgekit.graph.describe import GraphFiles, describe_graph, describe_quantization
from edgekit.graph.foreign import read_bundle_graph
from edgekit.graph.transplant import rebuild
from edgekit.graph.weights_file import WEIGHTS_FILE, load_weights, save_weights
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.migration import is_migrated
from edgekit.quantize.scheme import Scheme
from edgekit.quantize.weights import quantize_weights
from edgekit.runtime.greedy import initial_value
from edgekit.runtime.session import create_session, run_graph

# What a quantised model may differ by from the float one, as a share of the logits' spread: unrelated ones by 1.4.
TOLERANCE = 1.0
CHECKED_IDS = 8


def write_imported(
    directory: Path, bundle: Bundle, precision: str, scheme: Scheme, calibration: Calibration | None
) -> GraphFiles:
    """Writes the graphs and weights of the quantised bundle, and compares what the graphs say with the fp32 ones.

    Raises:
        UnsupportedError: the scheme is not for imported bundles.
        BundleError: the weights file is damaged.
        EdgekitError: the quantised model says something else altogether.
    """
    if any(map(is_migrated, scheme.formats)):
        raise UnsupportedError(f"{bundle.path} is an imported bundle, which can't be smoothed; choose another scheme")
    models = {name: ir.load(bundle.path_of(graph.file)) for name, graph in bundle.manifest.graphs.items()}
    weights = load_weights(bundle.path_of(WEIGHTS_FILE), {})
    matrices = set[str]()
    for model in models.values():
        foreign = read_bundle_graph(model.graph)
        matrices |= {matrix.name for matrix in foreign.products.values()} | set(foreign.lookups.values())
    float_weights = {name: weight for name, weight in weights.items() if name not in matrices}
    to_quantize = {name: weight for name, weight in weights.items() if name in matrices}
    weights = float_weights | quantize_weights(to_quantize, scheme, calibration)
    stored = save_weights(directory, weights)
    graphs = {}
    for name, model in models.items():
        models[name] = rebuild(model, weights, stored, precision)
        graphs[name] = describe_graph(models[name], bundle.manifest.graphs[name].file)
        ir.save(models[name], directory / graphs[name].file)
    # safetensors writes files that only their owner may read.
    shutil.copymode(directory / next(iter(graphs.values())).file, directory / WEIGHTS_FILE)
    _check(directory, bundle)
    return GraphFiles(graphs, bundle.manifest.state, describe_quantization(weights, precision, models.values()))


def _check(directory: Path, bundle: Bundle) -> None:
    """Compares the graphs in a directory with a bundle's, whose weights are floats."""
    manifest = bundle.manifest
    ids = np.random.default_rng(0).integers(0, manifest.tokenizer.source_vocab_size, CHECKED_IDS)
    calculate = _translation_scores if manifest.kind == "seq2seq" else _text_logits
    found, expected = (
        calculate({name: folder / graph.file for name, graph in manifest.graphs.items()}, bundle, ids)
        for folder in (directory, bundle.path)
    )
    difference = logits_difference(found, expected)
    if not difference <= TOLERANCE:
        raise EdgekitError(
            f"the quantised graph differs from the fp32 one by {difference:.2g} of the logits' spread (at most "
            f"{TOLERANCE:.2g} is expected); nothing was written. Please report this with your CPU's name"
        )


def _text_logits(files: Mapping[str, Path], bundle: Bundle, ids: np.ndarray) -> np.ndarray:
    """Logits after each id."""
    ids = ids[: bundle.manifest.generation.context_length]  # type: ignore[union-attr]
    feeds = {
        "input_ids": ids[None],
        "past_lengths": np.zeros(1, np.int32),
        "sequence_lengths": np.array([len(ids)], np.int32),
        "added_queries": np.zeros(1, np.int64),
        "output_rows": np.arange(len(ids)),
        **{state.past: initial_value(state, 1, len(ids)) for state in bundle.manifest.state},
    }
    found: np.ndarray = run_graph(create_session(files["model"]).run, ["logits"], feeds)[0]
    return found


def _translation_scores(files: Mapping[str, Path], bundle: Bundle, ids: np.ndarray) -> np.ndarray:
    """Log-probabilities of every first token: those that beam search sees, in the order of their ids."""
    manifest = bundle.manifest
    mask = np.ones((1, len(ids)), np.int32)
    encoder, decoder = create_session(files["encoder"]), create_session(files["beam_decoder"])
    encoded = run_graph(encoder.run, None, {"input_ids": ids[None], "attention_mask": mask})
    feeds = {
        "input_ids": ids[:1, None],
        "scores": np.zeros((1, 1), np.float32),
        "position": np.zeros(1, np.int64),
        "candidates": np.array([manifest.tokenizer.target_vocab_size]),
        "attention_mask": mask,
        "ancestors": np.zeros((1, 1, 1), np.int32),
        **dict(zip((port.name for port in encoder.get_outputs()), encoded, strict=True)),
        **{state.past: initial_value(state, 1, 1) for state in manifest.state if state.kind != "constant"},
    }
    scores, found = run_graph(decoder.run, ["candidate_scores", "candidate_ids"], feeds)
    ordered: np.ndarray = scores[0][np.argsort(found[0])]
    return ordered
