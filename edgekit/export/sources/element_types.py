"""How a checkpoint's element types become numpy's: the two half-precision ones are widened to float32, exactly.

In: raw bytes or a strided view of them. Out: native, aligned, C-ordered arrays; a view wherever nothing has to change.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BFLOAT16 = "bfloat16"
BOOL = "bool"
# Types that numpy lacks, or whose bytes may hold what its own does not allow, are looked at as integers first.
_STORED_AS = {BFLOAT16: "<u2", BOOL: "u1"}


def stored_dtype(kind: str) -> np.dtype[Any]:
    """The numpy type that elements of ``kind`` (a dtype string, "bfloat16" or "bool") are stored as."""
    return np.dtype(_STORED_AS.get(kind, kind))


def widened_dtype(kind: str) -> np.dtype[Any]:
    """The numpy type that `widen` gives for ``kind``."""
    return np.dtype(np.float32 if kind in (BFLOAT16, "<f2") else kind).newbyteorder("=")


def widen(stored: NDArray[Any], kind: str) -> NDArray[Any]:
    """Elements as numpy has them: float32 for float16 and bfloat16, else the type that ``kind`` says.

    Args:
        stored: An array of `stored_dtype`, of any strides, or uint8 bytes ``[n * itemsize]``.
        kind: A numpy dtype string, "bfloat16" or "bool".

    Returns:
        A C-ordered array of the same shape (bytes become ``[n]``).
    """
    stored = stored.view(stored_dtype(kind)) if stored.dtype == np.uint8 else stored
    if kind == BFLOAT16:
        # A bfloat16 is the upper half of a float32's bits.
        return (stored.astype(np.uint32, order="C") << 16).view(np.float32)
    if kind == BOOL:
        return np.ascontiguousarray(stored != 0)
    return np.require(stored, widened_dtype(kind), ["C_CONTIGUOUS", "ALIGNED"])
