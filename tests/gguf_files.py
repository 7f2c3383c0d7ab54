"""Tiny GGUF files: by the gguf package's writer, and packed by hand where the writer would refuse."""

import struct

import gguf
import numpy as np

# The type codes of metadata values.
UINT8, INT8, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 0, 1, 4, 5, 6, 7, 8, 9, 10
F32, F16, Q4_0, Q8_0 = 0, 1, 2, 8


def write_gguf(path, metadata, tensors, kinds=None, architecture="llama"):
    """Writes a file with gguf's own writer.

    Args:
        path: Where to.
        metadata: Values by key: int as uint32, float as float32, bool, str, or a list of one of them.
        tensors: float32 arrays by name.
        kinds: The stored type of a tensor by name, "Q8_0"; F32 for the others.
        architecture: ``general.architecture``.
    """
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
            add[type(value)](key, value)
    for name, array in tensors.items():
        kind = gguf.GGMLQuantizationType[(kinds or {}).get(name, "F32")]
        writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def text(value):
    """A string as the file has it."""
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def key(name, kind, data):
    """A metadata entry."""
    return text(name) + struct.pack("<I", kind) + data


def tensor(name, dimensions, kind=F32, offset=0):
    """An entry of the list of tensors; dimensions in the file's order, contiguous first."""
    shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return text(name) + shape + struct.pack("<IQ", kind, offset)


def pack_gguf(keys=(), tensors=(), data=b"", magic=b"GGUF", version=3, counts=None, alignment=32):
    """A whole file; `counts` are what it claims to hold."""
    counts = counts or (len(tensors), len(keys))
    header = magic + struct.pack("<IQQ", version, *counts) + b"".join(keys) + b"".join(tensors)
    return header + b"\0" * (-len(header) % alignment) + data


def random_array(shape, seed=0, scale=1.0):
    """float32 noise."""
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)
