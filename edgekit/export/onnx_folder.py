"""The ONNX graphs of a folder that optimum wrote, or somebody who says so.

In: a directory with ``encoder_model.onnx`` and its decoders, or ``model.onnx``. Out: a `LoadedGraph` of each. Before
anything but edgekit looks at a file, its external data is known to lie inside files of the same directory
(`edgekit.bundle.onnx_scan`). A function that a graph brings along and that has the name of one of onnxruntime's own
operators is that operator, whatever it says. Of a merged decoder, one graph with a branch for the first token and one
for the others, both branches are graphs of their own here.

Refused, in one line: missing files, files that are no ONNX graphs, data that lies elsewhere, opsets before 18, other
functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgekit.bundle.onnx_scan import check_external_data
from edgekit.errors import BundleError, SourceError, UnsupportedError
from edgekit.export.foreign_weights import LoadedGraph
from edgekit.graph.emitter import MICROSOFT, OPSET

ENCODER = "encoder_model.onnx"
DECODER, DECODER_WITH_PAST, MERGED = "decoder_model.onnx", "decoder_with_past_model.onnx", "decoder_model_merged.onnx"
MODEL = "model.onnx"
# No operator that such graphs or edgekit's own nodes use changes its meaning from one of these to another.
OPSETS = range(18, 25)
BRANCH_INPUT = "use_cache_branch"


@dataclass(frozen=True)
class OnnxFolder:
    """The files of one model: ``encoder``, ``decoder`` and ``decoder_with_past``, or ``model``.

    Attributes:
        files: the file of each; a merged decoder serves as both.
    """

    files: Mapping[str, Path]

    @property
    def kind(self) -> str:
        """The manifest's ``kind``."""
        return "seq2seq" if "encoder" in self.files else "causal-lm"

    def load(self, role: str) -> LoadedGraph:
        """One graph.

        Raises:
            SourceError: the file is damaged, or names data outside its directory.
            UnsupportedError: another opset, or a graph that branches.
        """
        path = self.files[role]
        model = load_model(path)
        if BRANCH_INPUT not in {value.name for value in model.graph.inputs}:
            return _whole(model.graph)
        return _branch(model.graph, path, with_past=role != "decoder")


def find_graphs(directory: Path) -> OnnxFolder | None:
    """The graphs in a directory, or in its folder ``onnx``; None if it holds none.

    Raises:
        SourceError: some are missing.
    """
    for folder in (directory, directory / "onnx"):
        present = {name for name in (ENCODER, DECODER, DECODER_WITH_PAST, MERGED, MODEL) if (folder / name).is_file()}
        if ENCODER in present:
            if {DECODER, DECODER_WITH_PAST} <= present:
                pair = (DECODER, DECODER_WITH_PAST)
            elif MERGED in present:
                pair = (MERGED, MERGED)
            else:
                raise SourceError(f"{folder} has {ENCODER}, and lacks {DECODER} and {DECODER_WITH_PAST}, or {MERGED}")
            names = zip(("encoder", "decoder", "decoder_with_past"), (ENCODER, *pair), strict=True)
            return OnnxFolder({role: folder / name for role, name in names})
        for name in (MODEL, DECODER_WITH_PAST, MERGED):
            if name in present:
                return OnnxFolder({"model": folder / name})
    return None


def load_model(path: Path) -> ir.Model:
    """An ONNX file, its external data mapped and not read.

    Raises:
        SourceError: the file is damaged, or names data outside its directory.
        UnsupportedError: another opset, or functions.
    """
    try:
        sizes = {entry.name: entry.stat().st_size for entry in path.parent.iterdir() if entry.is_file()}
        check_external_data(path, sizes)
        model = ir.load(path)
    except BundleError as error:
        raise SourceError(str(error)) from None
    except Exception as error:  # whatever a damaged file makes onnx_ir, onnx or protobuf raise
        reason = " ".join(str(error).split())[:200]
        raise SourceError(f"{path}: expected an ONNX graph, found: {reason}; export it again") from None
    opset = model.opset_imports.get("")
    if opset not in OPSETS:
        raise UnsupportedError(
            f"{path} has opset {opset}; edgekit reads {OPSETS[0]} to {OPSETS[-1]}: export the model again with "
            f"optimum-cli export onnx --opset {OPSETS[0]}"
        )
    if others := [function.name for function in model.functions.values() if function.domain != MICROSOFT]:
        raise UnsupportedError(f"{path} brings functions of its own ({others[0]:.80}), which edgekit doesn't read")
    return model


def _whole(graph: ir.Graph) -> LoadedGraph:
    return LoadedGraph(
        {str(value.name): value for value in graph.inputs},
        {str(value.name): value for value in graph.outputs},
        tuple(graph),
        _copy_opset(graph),
    )


def _branch(graph: ir.Graph, path: Path, *, with_past: bool) -> LoadedGraph:
    """One of the two graphs of a merged one: its outputs are called as the whole one's."""
    node = next((node for node in graph if node.op_type == "If"), None)
    attribute = None if node is None else node.attributes.get("then_branch" if with_past else "else_branch")
    if node is None or attribute is None or len(list(graph)) != 1:
        raise SourceError(f"{path}: expected one If over {BRANCH_INPUT}, as optimum merges decoders; export it again")
    branch = attribute.as_graph()
    names = [str(value.name) for value in graph.outputs]
    return LoadedGraph(
        {str(value.name): value for value in graph.inputs if value.name != BRANCH_INPUT},
        dict(zip(names, branch.outputs, strict=False)),
        tuple(branch),
        _copy_opset(graph),
    )


def _copy_opset(graph: ir.Graph) -> int:
    """The version for a graph that has this one's nodes and edgekit's own."""
    return max(OPSET, graph.opset_imports[""])
