"""Whether an imported bundle's graphs calculate what those that they were made of do; nothing is imported unchecked.

In: the bundle's directory and the files it came from. Both run over the same ids in onnxruntime; a batch of rows of
different lengths is compared with each row alone. Raised, in one line: what differs, and by how much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edgekit.bundle.manifest import StateTensor
from edgekit.errors import SourceError, UnsupportedError
from edgekit.graph.check import FLOAT_TOLERANCE, logits_difference
from edgekit.graph.check_beams import beam_difference
from edgekit.graph.foreign_causal_lm import Cache
from edgekit.runtime.greedy import initial_value
from edgekit.runtime.session import create_session, run_graph

# Ids of two rows: so many are read at once, and the rest one by one.
LENGTHS, PROMPTS = (9, 7), (5, 3)
SOURCE_LENGTHS, TARGET_LENGTH = (12, 7), 5
# What nobody has written yet must not be looked at.
UNFILLED = np.nan


def check_imported_text_model(
    directory: Path, original: Path, caches: Sequence[Cache], vocab_size: int, context_length: int
) -> None:
    """Compares ``model.onnx`` in a directory with the graph that it was made of.

    Raises:
        UnsupportedError: they differ.
    """
    random = np.random.default_rng(0)
    rows = [random.integers(0, vocab_size, min(length, context_length)) for length in LENGTHS]
    session = _session(original)
    expected = [_original_logits(session, row) for row in rows]
    found = _batch_logits(create_session(directory / "model.onnx"), rows, caches)
    _refuse_difference(max(map(logits_difference, found, expected)))


def check_imported_seq2seq(
    directory: Path, files: Mapping[str, Path], state: Sequence[StateTensor], vocab_size: int, logits_decoder: Path
) -> None:
    """Compares ``encoder.onnx``, ``decoder.onnx`` and ``beam_decoder.onnx`` with the graphs that they were made of.

    Args:
        directory: of the bundle.
        files: ``encoder`` and ``decoder``, as optimum wrote them.
        state: the manifest's.
        vocab_size: the logits' width.
        logits_decoder: a decoder that returns its logits too, beside the bundle's weights.

    Raises:
        UnsupportedError: they differ.
    """
    random = np.random.default_rng(0)
    sources = [random.integers(0, vocab_size, length) for length in SOURCE_LENGTHS]
    target = random.integers(0, vocab_size, TARGET_LENGTH)
    expected = _original_translations(files, sources, target)
    shared = _encode(directory, sources)
    found = _forced_logits(create_session(logits_decoder), shared, state, target, len(sources))
    difference = max(map(logits_difference, found.swapaxes(0, 1), expected))
    twice = {name: np.repeat(value[:1], 2, axis=0) for name, value in shared.items()}
    beams = beam_difference(directory, state, vocab_size, twice, target, expected[0], normalised=True)
    _refuse_difference(max(difference, beams))


def _refuse_difference(difference: float) -> None:
    if not difference <= FLOAT_TOLERANCE:
        raise UnsupportedError(
            f"edgekit can't import this ONNX graph: its logits, over a past or in a batch, differ by {difference:.2g} "
            f"of their spread from what it gives for each text alone (at most {FLOAT_TOLERANCE:.2g} is expected)"
        )


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        reason = " ".join(str(error).split())[:300]
        raise SourceError(f"{path}: onnxruntime can't load this graph ({reason}); export it again") from None


def _run_original(session: ort.InferenceSession, output: str, known: Mapping[str, Any]) -> np.ndarray:
    """One output; inputs that nobody names are pasts of no tokens, or False where a merged graph asks for a branch."""
    feeds = {}
    for port in session.get_inputs():
        if port.name in known:
            feeds[port.name] = known[port.name]
        elif port.type == "tensor(bool)":
            feeds[port.name] = np.zeros(1, bool)
        else:
            _, heads, _, width = port.shape
            feeds[port.name] = np.zeros((1, heads, 0, width), np.float32)
    found: np.ndarray = run_graph(session.run, [output], feeds)[0]
    return found


def _original_logits(session: ort.InferenceSession, ids: np.ndarray) -> np.ndarray:
    row = ids[None]
    known = {"input_ids": row, "attention_mask": np.ones_like(row), "position_ids": np.arange(len(ids))[None]}
    return _run_original(session, "logits", known)[0]


def _batch_logits(
    session: ort.InferenceSession, rows: Sequence[np.ndarray], caches: Sequence[Cache]
) -> list[np.ndarray]:
    """Logits of rows that run together: beginnings of different lengths, then one id at a time."""
    names = ["logits", "next_ids", *(f"present_{cache.name}" for cache in caches)]
    capacity = max(map(len, rows)) + 1
    past = {
        f"past_{cache.name}": np.full((len(rows), cache.heads, capacity, cache.width), UNFILLED, np.float32)
        for cache in caches
    }
    found: list[list[np.ndarray]] = [[] for _ in rows]
    done = [0 for _ in rows]
    while any(count < len(row) for count, row in zip(done, rows, strict=True)):
        fed = [
            row[count : count + 1] if count else row[:prompt]
            for count, row, prompt in zip(done, rows, PROMPTS, strict=True)
        ]
        width = max(map(len, fed))
        feeds = {
            "input_ids": np.stack([np.pad(ids, (0, width - len(ids))) for ids in fed]),
            "past_lengths": np.array(done, np.int32),
            "sequence_lengths": np.array([len(ids) for ids in fed], np.int32),
            "added_queries": np.zeros(1, np.int64),
            "output_rows": np.arange(len(rows) * width),
        }
        logits, _, *presents = run_graph(session.run, names, feeds | past)
        past = dict(zip(past, presents, strict=True))
        for index, ids in enumerate(fed):
            found[index] += list(logits[index * width : index * width + len(ids)])
            done[index] += len(ids)
    return [np.stack(logits) for logits in found]


def _original_translations(
    files: Mapping[str, Path], sources: Sequence[np.ndarray], target: np.ndarray
) -> list[np.ndarray]:
    """Logits after each id of the target, of each source by itself."""
    encoder, decoder = _session(files["encoder"]), _session(files["decoder"])
    found = []
    for source in sources:
        row, mask = source[None], np.ones((1, len(source)), np.int64)
        hidden = _run_original(encoder, "last_hidden_state", {"input_ids": row, "attention_mask": mask})
        known = {"input_ids": target[None], "encoder_hidden_states": hidden, "encoder_attention_mask": mask}
        found.append(_run_original(decoder, "logits", known)[0])
    return found


def _encode(directory: Path, sources: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """What a decoder is fed at each step."""
    width = max(map(len, sources))
    ids = np.stack([np.pad(source, (0, width - len(source))) for source in sources])
    mask = (np.arange(width) < np.array([len(source) for source in sources])[:, None]).astype(np.int32)
    session = create_session(directory / "encoder.onnx")
    outputs = run_graph(session.run, None, {"input_ids": ids, "attention_mask": mask})
    names = [port.name for port in session.get_outputs()]
    return {"attention_mask": mask, **dict(zip(names, outputs, strict=True))}


def _forced_logits(
    session: ort.InferenceSession,
    shared: Mapping[str, np.ndarray],
    state: Sequence[StateTensor],
    target: np.ndarray,
    rows: int,
) -> np.ndarray:
    """``float32 [target, rows, vocabulary]`` of a decoder that is fed the target, whatever it says."""
    carried = {
        one.past: np.full_like(initial_value(one, rows, len(target)), UNFILLED)
        for one in state
        if one.kind != "constant"
    }
    names = [port.name for port in session.get_outputs()]
    found = []
    for position, token in enumerate(target):
        step = {"input_ids": np.full(rows, token), "positions": np.full(rows, position)}
        outputs = dict(zip(names, run_graph(session.run, None, {**step, **shared, **carried}), strict=True))
        logits, next_ids = outputs["logits"], outputs["next_ids"]
        found.append(np.where((next_ids == logits.argmax(axis=1))[:, None], logits, np.nan))
        carried = {one.past: outputs[str(one.present)] for one in state if one.kind != "constant"}
    return np.stack(found)
