"""What search asks of a bundle's graphs, checked once at load, so that a manifest and its graphs fit each other.

In: a manifest and its loaded sessions. Out: nothing, or one `BundleError` naming every input and output that is
missing, unknown or of another type. The manifest's own consistency is `edgekit.bundle.consistency`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import onnxruntime as ort

from edgekit.bundle.manifest import Manifest, StateTensor
from edgekit.errors import BundleError

# onnxruntime's names of the types that the ports have.
TYPES = {"int64": "tensor(int64)", "int32": "tensor(int32)", "float32": "tensor(float)"}
ENCODER_INPUTS = {"input_ids": "int64", "attention_mask": "int32"}
DECODER_INPUTS = {"input_ids": "int64", "positions": "int64", "attention_mask": "int32"}
DECODER_OUTPUTS = {"next_ids": "int64"}
BEAM_INPUTS = {"input_ids": "int64", "scores": "float32", "position": "int64", "candidates": "int64"}
BEAM_OUTPUTS = {"candidate_scores": "float32", "candidate_ids": "int64", "candidate_beams": "int64"}
CAUSAL_INPUTS = {
    "input_ids": "int64",
    "past_lengths": "int32",
    "sequence_lengths": "int32",
    "added_queries": "int64",
    "output_rows": "int64",
}
CAUSAL_OUTPUTS = {"next_ids": "int64", "logits": "float32"}
MOST_SHOWN = 4


def check_ports(manifest: Manifest, encoder: ort.InferenceSession, decoder: ort.InferenceSession) -> None:
    """Raises `BundleError` unless the sessions have the inputs and outputs that the manifest's search needs."""
    shortlist = {"shortlist": "int64"} if manifest.shortlist else {}
    constants = {state.past: state.dtype for state in manifest.state if state.kind == "constant"}
    carried = [state for state in manifest.state if state.kind != "constant"]
    past = {state.past: state.dtype for state in carried}
    present = {str(state.present): state.dtype for state in carried}
    encoder_inputs = ENCODER_INPUTS | (shortlist | {"shortlist_bias": "float32"} if shortlist else {})
    problems = [
        *_different("the encoder's inputs", encoder_inputs, encoder.get_inputs()),
        *_different("the encoder's outputs", constants, encoder.get_outputs()),
        *_different("the decoder's inputs", DECODER_INPUTS | shortlist | constants | past, decoder.get_inputs()),
        *_different("the decoder's outputs", DECODER_OUTPUTS | present, decoder.get_outputs()),
        *(problem for state in carried for problem in _unusable(state)),
    ]
    _raise(problems)


def check_beam_ports(manifest: Manifest, decoder: ort.InferenceSession) -> None:
    """Raises `BundleError` unless the session has the inputs and outputs that beam search needs."""
    carried = [state for state in manifest.state if state.kind != "constant"]
    inputs = BEAM_INPUTS | {"attention_mask": "int32"} | {state.past: state.dtype for state in manifest.state}
    if manifest.shortlist:
        inputs["shortlist"] = "int64"
    if any(state.kind == "appended" for state in carried):
        inputs["ancestors"] = "int32"
    present = {str(state.present): state.dtype for state in carried}
    _raise(
        [
            *_different("the beam decoder's inputs", inputs, decoder.get_inputs()),
            *_different("the beam decoder's outputs", BEAM_OUTPUTS | present, decoder.get_outputs()),
        ]
    )


def check_causal_ports(manifest: Manifest, model: ort.InferenceSession) -> None:
    """Raises `BundleError` unless the session has the inputs and outputs that text generation needs."""
    past = {state.past: state.dtype for state in manifest.state}
    present = {str(state.present): state.dtype for state in manifest.state}
    problems = [
        *_different("the graph's inputs", CAUSAL_INPUTS | past, model.get_inputs()),
        *_different("the graph's outputs", CAUSAL_OUTPUTS | present, model.get_outputs()),
        *(problem for state in manifest.state for problem in _unusable(state)),
        # A text's share of a buffer has to be contiguous, and nothing else than appended entries can be kept apart.
        *(
            f"state {state.name}: expected an appended state whose first axis is the batch"
            for state in manifest.state
            if state.kind != "appended" or state.batch_axis != 0
        ),
    ]
    _raise(problems)


def _raise(problems: Sequence[str]) -> None:
    if problems:
        more = f"; and {len(problems) - MOST_SHOWN} more" if len(problems) > MOST_SHOWN else ""
        listed = "; ".join(problems[:MOST_SHOWN]) + more
        raise BundleError(f"the bundle's manifest does not fit its graphs: {listed}; export the model again")


def _different(where: str, expected: dict[str, str], found: Iterable[ort.NodeArg]) -> Iterator[str]:
    types = {port.name: port.type for port in found}
    for name in sorted(expected.keys() | types.keys()):
        if name not in types:
            yield f"{where} lack {name}"
        elif name not in expected:
            yield f"{where} have {name}, which the manifest does not explain"
        elif types[name] != TYPES.get(expected[name]):
            yield f"{where}: {name} is {types[name]}, expected {expected[name]}"


def _unusable(state: StateTensor) -> Iterator[str]:
    """What keeps a carried state from being made: it is float32, with one axis a row and at most one that grows."""
    if state.dtype != "float32":
        yield f"state {state.name}: expected float32, found {state.dtype}"
    variable = [axis for axis, size in enumerate(state.shape) if isinstance(size, str)]
    if state.batch_axis is None or set(variable) - {state.batch_axis, state.growth_axis}:
        yield f"state {state.name}: expected sizes along all axes but the batch's and the growing one"
