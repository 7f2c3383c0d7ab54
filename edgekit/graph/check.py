"""Whether the graphs just written calculate what their weights say; nothing leaves an exporter unchecked.

`check_graphs` runs the encoder and a decoder that shows its logits over fixed ids and compares with `reference`; the
decoders of greedy and beam search, which show none, must then choose by the same logits.
`record_self_check` runs greedy search over one sentence and puts the result into the manifest.
"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import numpy as np

from edgekit.bundle.manifest import Manifest, SelfCheck
from edgekit.errors import EdgekitError
from edgekit.graph.beam_decoder import SUPPRESSED_BIAS
from edgekit.graph.check_beams import beam_difference
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.reference import Reference
from edgekit.graph.seq2seq import DECODER_FILE, ENCODER_FILE, state_tensors, write_logits_decoder
from edgekit.graph.weights_file import Weights
from edgekit.runtime.greedy import GreedySearch, initial_value
from edgekit.runtime.session import create_session
from edgekit.runtime.shortlist import load_shortlist

SOURCE_LENGTH = 12
PADDING = 4  # ids behind the source that the mask hides, so that a graph that looks at them is found out
TARGET_LENGTH = 5
# Root mean square difference of the logits as a share of their spread: in float some 1e-6 are seen.
FLOAT_TOLERANCE = 1e-3
# In int8, graph and reference do the same arithmetic, but one last-bit difference of a sum can tip a rounding, and that
# tips others: then they differ like two independent roundings, 1.4 times as much as either differs from float.
INT8_TOLERANCE = 2.0
# Logits below this are suppressed ids, not results.
SUPPRESSED = -1e8


def check_graphs(directory: Path, config: Seq2SeqConfig, weights: Weights, precision: str) -> float:
    """Compares the graphs in ``directory`` with the numpy reference.

    In fp32 a single wrong bias is seen. In int8 a fault is seen that costs more than quantisation itself does; a
    smaller one is not, but the same methods build both precisions, and tests hold fp32 to the finer measure.

    Returns:
        The root mean square difference of the logits as a share of their standard deviation.

    Raises:
        EdgekitError: it is above the tolerance; a fault of edgekit or of onnxruntime on this machine.
    """
    random = np.random.default_rng(0)
    source = random.integers(0, config.source_vocab_size, SOURCE_LENGTH)
    target = random.integers(0, config.target_vocab_size, TARGET_LENGTH)
    expected = Reference(config, weights, precision).logits(source, target)
    found, next_ids = _run(directory, config, weights, precision, source, target)
    difference = logits_difference(found, expected)
    allowed = FLOAT_TOLERANCE
    if precision == "int8":
        allowed += INT8_TOLERANCE * logits_difference(
            expected, Reference(config, weights, "fp32").logits(source, target)
        )
    if np.array_equal(next_ids, found.argmax(axis=1)):
        twice = encode(directory, config, source, sentences=2)
        normalised = SUPPRESSED_BIAS not in weights
        beams = beam_difference(
            directory, state_tensors(config), config.target_vocab_size, twice, target, found, normalised=normalised
        )
        difference = float(np.maximum(difference, beams))  # NaN wins
    else:
        difference = float("inf")
    if not difference <= allowed:
        raise EdgekitError(
            f"the {precision} graph differs from its weights by {difference:.2g} of the logits' spread (at most "
            f"{allowed:.2g} is expected); nothing was written. Please report this with your CPU's name"
        )
    return difference


def logits_difference(logits: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square difference of logits as a share of their spread, suppressed ids left out."""
    kept = expected > SUPPRESSED
    spread = float(expected[kept].std())
    return float(np.sqrt(np.mean((logits - expected)[kept] ** 2, dtype=np.float64))) / max(spread, 1e-9)


def record_self_check(directory: Path, manifest: Manifest, max_length: int = 16) -> Manifest:
    """Translates the ids of ``manifest.self_check`` with the graphs in ``directory`` and records what comes out."""
    encoder, decoder = (create_session(directory / name) for name in (ENCODER_FILE, DECODER_FILE))
    search = GreedySearch(manifest, encoder, decoder, load_shortlist(directory.joinpath, manifest))
    input_ids = manifest.self_check.input_ids
    output_ids = tuple(search.search([input_ids], max_length)[0])
    return dataclasses.replace(manifest, self_check=SelfCheck(input_ids, output_ids))


def _run(
    directory: Path, config: Seq2SeqConfig, weights: Weights, precision: str, source: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of every position, and what the decoder of the bundle, which shows none, chooses there."""
    # One graph after the other: each session holds a copy of the matrices, laid out for its products.
    shared = encode(directory, config, source, sentences=1)
    path = directory / "logits.onnx"
    with contextlib.ExitStack() as stack:
        stack.callback(path.unlink, missing_ok=True)
        write_logits_decoder(path, config, weights, precision)
        decoder = create_session(path)
    carried: dict[str, np.ndarray] = {
        state.past: initial_value(state, 1, TARGET_LENGTH)
        for state in state_tensors(config)
        if state.kind != "constant"
    }
    logits, steps = [], []
    names = [output.name for output in decoder.get_outputs()]
    for position, token in enumerate(target):
        step = {"input_ids": np.array([token]), "positions": np.array([position]), **shared, **carried}
        steps.append(step)
        outputs = dict(zip(names, decoder.run(None, step), strict=True))
        logits.append(outputs.pop("logits")[0])
        del outputs["next_ids"]
        carried = {name.replace("present_", "past_"): value for name, value in outputs.items()}
    del decoder
    greedy = create_session(directory / DECODER_FILE)
    return np.stack(logits), np.array([greedy.run(["next_ids"], step)[0][0] for step in steps])


def encode(directory: Path, config: Seq2SeqConfig, source: np.ndarray, sentences: int) -> dict[str, np.ndarray]:
    """What a decoder is fed at each step of so many equal sentences."""
    padded = np.tile(np.concatenate([source, source[:PADDING]]), (sentences, 1))
    mask = np.tile((np.arange(padded.shape[1]) < len(source)).astype(np.int32), (sentences, 1))
    feeds: dict[str, np.ndarray] = {"input_ids": padded, "attention_mask": mask}
    shared: dict[str, np.ndarray] = {"attention_mask": mask}
    if config.has_shortlist:
        shared["shortlist"] = feeds["shortlist"] = np.arange(config.target_vocab_size)
        feeds["shortlist_bias"] = np.zeros((sentences, config.target_vocab_size), np.float32)
    encoder = create_session(directory / ENCODER_FILE)
    return shared | dict(zip((output.name for output in encoder.get_outputs()), encoder.run(None, feeds), strict=True))
