"""A small bundle that onnxruntime really runs, made by hand: one weight, shared by an encoder and a decoder.

The encoder looks token ids up (``cross_memory_0``); the decoder adds the sentence's sum to a recurrent state and
answers with its ArgMax.
"""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgekit.bundle.manifest import (
    Generation,
    Graph,
    Languages,
    Manifest,
    Port,
    Quantization,
    SelfCheck,
    Source,
    StateTensor,
    TokenizerFiles,
)
from edgekit.bundle.write import stage_bundle, write_manifest

VOCAB_SIZE, D_MODEL = 6, 4
EMBEDDING = np.arange(VOCAB_SIZE * D_MODEL, dtype=np.float32).reshape(VOCAB_SIZE, D_MODEL)


def external_tensor(name: str, dims: list[int], **entries: object) -> TensorProto:
    """A float32 initialiser whose external data is exactly ``entries``, in that order."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def weights_file() -> bytes:
    """A safetensors file with the embedding."""
    entry = {"dtype": "F32", "shape": [VOCAB_SIZE, D_MODEL], "data_offsets": [0, EMBEDDING.nbytes]}
    header = json.dumps({"embedding": entry}).encode()
    return struct.pack("<Q", len(header)) + header + EMBEDDING.tobytes()


def encoder_model(**entries: object) -> onnx.ModelProto:
    """The encoder; ``entries`` replace those of its weight's external data."""
    size_bytes = len(weights_file())
    where = {"location": "weights.safetensors", "offset": size_bytes - EMBEDDING.nbytes, "length": EMBEDDING.nbytes}
    graph = helper.make_graph(
        [helper.make_node("Gather", ["embedding", "input_ids"], ["cross_memory_0"])],
        "encoder",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "source_length"])],
        [helper.make_tensor_value_info("cross_memory_0", TensorProto.FLOAT, ["batch", "source_length", D_MODEL])],
        [external_tensor("embedding", [VOCAB_SIZE, D_MODEL], **(where | entries))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def decoder_model() -> onnx.ModelProto:
    """The decoder."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["cross_memory_0", "axes"], ["sentence"], keepdims=0),
            helper.make_node("Add", ["past_state_0", "sentence"], ["present_state_0"]),
            helper.make_node("ArgMax", ["present_state_0"], ["next_ids"], axis=1, keepdims=0),
        ],
        "decoder",
        [
            helper.make_tensor_value_info("cross_memory_0", TensorProto.FLOAT, ["batch", "source_length", D_MODEL]),
            helper.make_tensor_value_info("past_state_0", TensorProto.FLOAT, ["batch", D_MODEL]),
        ],
        [
            helper.make_tensor_value_info("next_ids", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("present_state_0", TensorProto.FLOAT, ["batch", D_MODEL]),
        ],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def tiny_manifest() -> Manifest:
    """The manifest of the tiny bundle, without its files."""
    memory = Port("cross_memory_0", "float32", ("batch", "source_length", D_MODEL))
    state = ("batch", D_MODEL)
    return Manifest(
        kind="seq2seq",
        name="tiny-en-de",
        precision="fp32",
        architecture={"model_type": "tiny", "d_model": D_MODEL},
        languages=Languages("en", "de"),
        task="translation",
        source=Source("local", "tiny", None, "Apache-2.0", {"model.bin": "ab" * 32}),
        quantization=Quantization("fp32"),
        graphs={
            "encoder": Graph("encoder.onnx", (Port("input_ids", "int64", ("batch", "source_length")),), (memory,)),
            "decoder": Graph(
                "decoder.onnx",
                (memory, Port("past_state_0", "float32", state)),
                (Port("next_ids", "int64", ("batch",)), Port("present_state_0", "float32", state)),
            ),
        },
        state=(
            StateTensor(
                "memory_0", "cross_memory_0", None, "float32", memory.shape, "constant", 0, None, None, "encoder"
            ),
            StateTensor(
                "state_0", "past_state_0", "present_state_0", "float32", state, "recurrent", 0, None, None, "zeros"
            ),
        ),
        generation=Generation(5, 0, 5, 1, 16, 32, 2.0),
        tokenizer=TokenizerFiles("tokenizer.json", "tokenizer.json", VOCAB_SIZE, VOCAB_SIZE),
        shortlist=None,
        self_check=SelfCheck((2, 3, 0), (3,)),
        measured=None,
        created_by={"edgekit": "0.1.0"},
    )


def fill(directory: Path, encoder: onnx.ModelProto | None = None) -> None:
    """Writes all files of the tiny bundle but its manifest."""
    (directory / "weights.safetensors").write_bytes(weights_file())
    (directory / "encoder.onnx").write_bytes((encoder or encoder_model()).SerializeToString())
    (directory / "decoder.onnx").write_bytes(decoder_model().SerializeToString())
    (directory / "tokenizer.json").write_text('{"version": "1.0"}')
    (directory / "LICENSE").write_text("Apache-2.0\n")


def build_tiny_bundle(target: Path, force: bool = False) -> Path:
    """Makes the tiny bundle and returns its path."""
    with stage_bundle(target, force=force) as directory:
        fill(directory)
        write_manifest(directory, tiny_manifest())
    return target


def write_bundle(
    target: Path,
    force: bool = False,
    manifest: Manifest | None = None,
    encoder: onnx.ModelProto | None = None,
    then: Callable[[Path], object] = lambda directory: None,
) -> None:
    """Writes the tiny bundle, or a variant; ``then`` is the last that happens before the block ends."""
    with stage_bundle(target, force=force) as directory:
        fill(directory, encoder)
        write_manifest(directory, manifest or tiny_manifest())
        then(directory)


def contents(directory: Path) -> dict[str, bytes]:
    """The bytes of each file of a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}
