"""Whether this CPU's kernels for 4 or 8 bits multiply a row alone as they do among others.

onnxruntime 1.32 has one kernel for any number of rows where a CPU has AVX-512 with VNNI, and for 8 bits anywhere; with
AVX2 alone its 4-bit kernel adds up a single row in another order. That a text doesn't depend on its batch can be seen
only where the kernels allow it.
"""

import functools

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgekit.graph.emitter import MICROSOFT, Emitter
from edgekit.runtime.session import session_options

WIDTH, BLOCK, OUTPUTS, ROWS = 64, 32, 8, 4


@functools.cache
def rows_agree(bits):
    random = np.random.default_rng(0)
    emit = Emitter({}, {}, precision="int8", epsilon=0)
    x = emit.input("x", "float32", ["rows", WIDTH])
    values = random.integers(0, 256, (OUTPUTS, WIDTH // BLOCK, BLOCK * bits // 8), dtype=np.uint8)
    scales = random.random((OUTPUTS, WIDTH // BLOCK), dtype=np.float32)
    y = emit.op(
        "MatMulNBits",
        *(x, emit.constant(values), emit.constant(scales)),
        domain=MICROSOFT,
        K=WIDTH,
        N=OUTPUTS,
        bits=bits,
        block_size=BLOCK,
        accuracy_level=4,
    )
    model = emit.build("product", {"y": (y, "float32", ["rows", OUTPUTS])})
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), session_options())
    rows = random.normal(size=(ROWS, WIDTH)).astype(np.float32)
    (together,) = session.run(None, {"x": rows})
    alone = np.concatenate([session.run(None, {"x": row[None]})[0] for row in rows])
    return bool(np.array_equal(together, alone))


def need_rows_that_agree(precision):
    """Skips a test whose precision's kernel rounds one row otherwise than several on this CPU."""
    if precision == "int4" and not rows_agree(4):
        pytest.skip("this CPU's kernel for 4 bits adds up a single row in another order than several")
