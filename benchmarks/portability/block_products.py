"""MatMulNBits with its inputs in int8, at the largest values there are: exact on this CPU, or what it is off by.

    python benchmarks/portability/block_products.py
    qemu-x86_64 -cpu Haswell $(readlink -f $(which python)) benchmarks/portability/block_products.py

4 and 8 bits, each block size, with and without zero points, 1 to 16 rows of all 127 or all -127 by the largest weights:
sums of pairs that a kernel has in 16 bits show here. Prints one line a form; the status is 1 if any is off.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from onnx_ir.tape import Tape

from edgekit.runtime.saturation import products_saturate
from edgekit.runtime.session import session_options

WIDTH, OUTPUTS = 256, 64


def largest_error(bits: int, block_size: int, zero_point: int | None) -> float:
    """The largest share of the exact result that products of 1, 2 and 16 rows are off by."""
    blocks = WIDTH // block_size
    arrays = {
        "weight": np.full((OUTPUTS, blocks, block_size * bits // 8), 255, np.uint8),
        "scale": np.ones((OUTPUTS, blocks), np.float32),
    }
    if zero_point is not None:
        packed = zero_point * 17 if bits == 4 else zero_point
        arrays["zero_point"] = np.full((OUTPUTS, -(-blocks * bits // 8)), packed, np.uint8)
    middle = 1 << (bits - 1) if zero_point is None else zero_point
    session = _session(arrays, bits, block_size)
    worst = 0.0
    for rows, value in product((1, 2, 16), (127, -127)):
        (found,) = session.run(None, {"x": np.full((rows, WIDTH), value, np.float32)})
        expected = WIDTH * value * ((1 << bits) - 1 - middle)
        worst = max(worst, float(np.abs(found - expected).max()) / max(abs(expected), 1))
    return worst


def _session(arrays: dict[str, np.ndarray], bits: int, block_size: int) -> ort.InferenceSession:
    tape = Tape()
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", WIDTH]))
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    initializers = [
        ir.Value(name=tensor.name, const_value=tensor, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype))
        for tensor in tensors
    ]
    sizes = {"K": WIDTH, "N": OUTPUTS, "bits": bits, "block_size": block_size, "accuracy_level": 4}
    y = tape.op("MatMulNBits", [x, *initializers], sizes, domain="com.microsoft")
    y.name, y.type, y.shape = "y", ir.TensorType(ir.DataType.FLOAT), ir.Shape(["rows", OUTPUTS])
    opsets = {"": 21, "com.microsoft": 1}
    graph = ir.Graph([x], [y], nodes=tape.nodes, initializers=initializers, opset_imports=opsets, name="product")
    data = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()
    return ort.InferenceSession(data, session_options(), providers=["CPUExecutionProvider"])


def main() -> None:
    """Tries every form."""
    print(f"# u8 x s8 products saturate: {products_saturate()}")
    failed = False
    for bits, block_size in product((4, 8), (16, 32, 64, 128)):
        for zero_point in (None, 0, (1 << bits) - 1):
            error = largest_error(bits, block_size, zero_point)
            failed |= error > 1e-4
            print(f"{bits} bits, blocks of {block_size}, zero point {zero_point}: off by {error:.2g}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
