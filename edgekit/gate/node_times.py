"""Where a model's time goes, tensor by tensor: onnxruntime's profile of its graphs as they run.

A product alone in a loop finds its weights in the processor's cache, which a whole model does not; so the whole model
is run, and each node's time is given to the tensor that it multiplies with or looks up in, the quantising of its input
included. One thread, one text at a time: an encoder-decoder translates a sentence of middling length, a decoder-only
model goes on from a prompt token by token.

In: a float model and the tensors that replace its own. Out: microseconds a sentence or a token, by tensor; of each node
the least of a few runs, since what else the machine does only adds. Compare times taken one after the other.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.gate.forced import ForcedText, ForcedTexts, ForcedTranslation, Variant
from edgekit.gate.sensitivity import Probe
from edgekit.graph.tensors import Tensor

__all__ = ["TensorTimes", "measure_times"]

# Runs beside the first, which warms up.
RUNS = 5
PROMPT_TOKENS, NEW_TOKENS = 32, 16
# Nodes that prepare a product's input, walked backwards from it: their first inputs, but of QuantizeLinear its scale.
PREPARING = ("QuantizeLinear", "ReduceSum", "DequantizeLinear", "Transpose", "ReduceMax", "Abs", "Reshape", "Pad")


@dataclass(frozen=True)
class TensorTimes:
    """Microseconds of one sentence, or of one token of a decoder-only model.

    Attributes:
        tensors: by the name of the tensor, for those that products or lookups use.
        total: of all nodes.
    """

    tensors: Mapping[str, float]
    total: float


def measure_times(probe: Probe, changes: Mapping[str, Tensor], precision: str, runs: int = RUNS) -> TensorTimes:
    """Profiles a model.

    Args:
        probe: holds the float model and its texts.
        changes: tensors in the place of the float ones.
        precision: as the graph builders take it.
        runs: how often it runs after warming up.
    """
    variant = Variant(probe.model, changes)
    with tempfile.TemporaryDirectory(prefix="edgekit-profile-") as directory:
        if isinstance(probe.forced, ForcedTranslation):
            assert isinstance(probe.texts, ForcedTexts)
            return _translation(variant, probe.forced, probe.texts, precision, runs, Path(directory))
        assert not isinstance(probe.texts, ForcedTexts)
        return _text(variant, probe.forced, probe.texts, precision, runs, Path(directory))


def _translation(
    variant: Variant, forced: ForcedTranslation, texts: ForcedTexts, precision: str, runs: int, directory: Path
) -> TensorTimes:
    middle = int(np.argsort(texts.tokens, kind="stable")[len(texts.tokens) // 2])
    text = ForcedTexts(texts.sources[middle : middle + 1], texts.outputs[middle : middle + 1])
    graphs = forced.graphs(variant, precision)
    owners = [_name_nodes(graph, variant.tensor_names(graph)) for graph in graphs]
    sessions = [variant.session(graph, directory / name) for graph, name in zip(graphs, "ed", strict=True)]
    for _ in range(runs + 1):
        forced.run(sessions[0], sessions[1], text, "next_ids")
    found = [_read_profile(Path(session.end_profiling()), runs + 1) for session in sessions]
    return _sum_up(found, owners, 1)


def _text(
    variant: Variant, forced: ForcedText, ids: Sequence[int], precision: str, runs: int, directory: Path
) -> TensorTimes:
    graph = forced.graph(variant, precision)
    owners = _name_nodes(graph, variant.tensor_names(graph))
    session = variant.session(graph, directory / "m")
    prompt = min(PROMPT_TOKENS, max(1, len(ids) - NEW_TOKENS))
    chosen = ids[: prompt + NEW_TOKENS]
    for _ in range(runs + 1):
        forced.run(session, chosen, prompt)
    steps = len(chosen) - prompt
    return _sum_up([_read_profile(Path(session.end_profiling()), runs + 1, skipped=1)], [owners], max(steps, 1))


def _name_nodes(model: ir.Model, tensors: Mapping[str, str]) -> dict[str, str]:
    """Gives each node a name of its own; the tensor of each that belongs to one, by the node's name."""
    owners = {}
    for index, node in enumerate(model.graph):
        node.name = f"edgekit_node_{index}"
    for node in model.graph:
        used = [_stored(value) for value in node.inputs]
        names = [tensors[name] for name in used if name in tensors]
        matrices = [name for name in names if name.endswith(".weight") and ".norm." not in name]
        if not matrices or node.op_type in ("LayerNormalization", "SimplifiedLayerNormalization"):
            continue
        owners[str(node.name)] = matrices[0]
        _claim_inputs(node, matrices[0], owners)
    return owners


def _stored(value: ir.Value | None) -> str:
    """The name of the array that a value is, or is made of when the graph is loaded; "" where there is none."""
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type not in ("Transpose", "DequantizeLinear"):
            return ""
        value = producer.inputs[0]
    return "" if value is None else str(value.name)


def _claim_inputs(node: ir.Node, tensor: str, owners: dict[str, str]) -> None:
    """Gives the nodes that quantise or sum up a product's input to its tensor, unless another has them."""
    for value in node.inputs:
        producer = None if value is None else value.producer()
        if producer is None or producer.op_type not in PREPARING or str(producer.name) in owners:
            continue
        owners[str(producer.name)] = tensor
        if producer.op_type == "QuantizeLinear":
            scale = producer.inputs[1]
            factor = None if scale is None else scale.producer()
            if factor is not None and str(factor.name) not in owners:
                owners[str(factor.name)] = tensor
                _claim_inputs(factor, tensor, owners)
        elif producer.op_type != "Abs":
            _claim_inputs(producer, tensor, owners)


def _read_profile(path: Path, runs: int, skipped: int = 0) -> dict[str, float]:
    """Microseconds of each node in one run: of each call the least but for the first run; some calls don't count."""
    durations: dict[str, list[int]] = defaultdict(list)
    for event in json.loads(path.read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            # A fused node has the name of the first that it was made of, and a word before it.
            named = re.search(r"edgekit_node_\d+", event["name"])
            durations[named[0] if named else event["name"]].append(event["dur"])
    return {
        name: float(np.array(values, float).reshape(runs, -1)[1:, skipped:].min(axis=0).sum())
        for name, values in durations.items()
    }


def _sum_up(found: Sequence[Mapping[str, float]], owners: Sequence[Mapping[str, str]], tokens: int) -> TensorTimes:
    tensors: dict[str, float] = defaultdict(float)
    total = 0.0
    for times, of_graph in zip(found, owners, strict=True):
        for node, micros in times.items():
            total += micros / tokens
            if node in of_graph:
                tensors[of_graph[node]] += micros / tokens
    return TensorTimes(dict(tensors), total)
