"""Whether this CPU's int8 kernels saturate: the one thing about a CPU that changes what int8 means.

x86 CPUs without VNNI multiply unsigned by signed bytes with ``vpmaddubsw``, which adds pairs of products in 16 bits
with saturation: 255 * 127 + 255 * 127 becomes 32767. onnxruntime can avoid that by making the weights unsigned
(``session.x64quantprecision``), but does so on every x86 CPU that is told to, and the embedded model's encoder took 1.6
times as long that way on one with VNNI. So no flag is asked here: a product that would saturate is calculated.
"""

from __future__ import annotations

import base64
import functools

import numpy as np
import onnxruntime as ort

# One MatMulInteger node, "y = a @ b": uint8 [m, k] by int8 [k, n] to int32 [m, n]; ONNX IR version 8, opset 10.
PRODUCT = base64.b64decode(
    "CAgSADpiChgKAWEKAWISAXkiDU1hdE11bEludGVnZXISAWdaFQoBYRIQCg4IAhIKCgMSAW0KAxIBa1oVCgFiEhAKDggDEgoKAxIB"
    "awoDEgFuYhUKAXkSEAoOCAYSCgoDEgFtCgMSAW5CBAoAEAo="
)
# Several sizes, since one row, few columns and many have kernels of their own.
SHAPES = ((1, 64, 64), (2, 64, 16), (16, 256, 64))


@functools.cache
def products_saturate() -> bool:
    """Whether onnxruntime's product of uint8 and int8 saturates on this CPU; found out once a process."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(PRODUCT, options, providers=["CPUExecutionProvider"])
    return any(not _is_exact(session, *shape) for shape in SHAPES)


def _is_exact(session: ort.InferenceSession, m: int, k: int, n: int) -> bool:
    largest = {"a": np.full((m, k), 255, np.uint8), "b": np.full((k, n), 127, np.int8)}
    return bool((session.run(None, largest)[0] == 255 * 127 * k).all())
