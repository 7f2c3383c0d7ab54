import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.safetensors_file import read_safetensors
from tests.damage import damaged_copies, refusals


def pack(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_every_type_is_read_and_half_precision_widened(tmp_path):
    kinds = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    rng = np.random.default_rng(0)
    tensors = {kind: torch.tensor(rng.normal(0, 50, (3, 5))).to(getattr(torch, kind)) for kind in kinds}
    save_torch_file(tensors, tmp_path / "model.safetensors")
    arrays = read_safetensors(tmp_path / "model.safetensors")
    assert set(arrays) == set(kinds)
    for kind, array in arrays.items():
        expected = tensors[kind].float() if kind in ("float16", "bfloat16") else tensors[kind]
        np.testing.assert_array_equal(array, expected.numpy())
        assert array.dtype == expected.numpy().dtype
        assert array.flags.c_contiguous
        assert array.flags.aligned


def shared_kib():
    """Mapped files' pages that this process has in memory (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("RssFile")).split()[1])


def test_a_tensor_that_was_read_takes_no_memory_once_the_next_is_and_stays_as_it_is(tmp_path):
    names, mib = [f"weight{number}" for number in range(8)], np.arange(1 << 18, dtype=np.float32)
    save_file({name: mib * place for place, name in enumerate(names)}, tmp_path / "model.safetensors")
    tensors = read_safetensors(tmp_path / "model.safetensors")
    before = shared_kib() if sys.platform == "linux" else 0
    read = [tensors[name] for name in names]
    for place, name in enumerate(names):
        np.testing.assert_array_equal(tensors[name], mib * place)
    if sys.platform == "linux":
        assert shared_kib() - before < 3 * 1024  # of 8 MiB
    for place, array in enumerate(read):
        np.testing.assert_array_equal(array, mib * place)


def test_scalars_and_empty_tensors_keep_their_shape(tmp_path):
    save_file({"scalar": np.array(2.5), "empty": np.zeros((0, 4), np.float32)}, tmp_path / "model.safetensors")
    arrays = read_safetensors(tmp_path / "model.safetensors")
    assert arrays["scalar"] == 2.5
    assert (arrays["scalar"].shape, arrays["empty"].shape) == ((), (0, 4))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\1\0\0", r"with 8 bytes of header length at offset 0, found 3"),
        (struct.pack("<Q", 2**63) + b"{}", r"with a header of at most 16777216 bytes, found 9223372036854775808"),
        (pack(b"{}")[:-1], r"with 2 bytes of header at offset 8, found 1"),
        (pack(b"[]"), r"expected a safetensors file, found: .*; fetch it again"),
        (pack(b'{"a": '), r"expected a safetensors file, found"),
        (pack(b"[" * 100_000), r"expected a safetensors file, found"),
        (pack({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 4), r"found: .*; fetch it again"),
        (pack({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"\0" * 8), r"found: .*; fetch it again"),
        (pack({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}), r"found: .*; fetch it again"),
        (pack({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8), r"found: .*; fetch it again"),
        (pack({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 8), r"found: .*; fetch it again"),
        (pack({"a": {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}}, b"\0" * 4), r"that numpy can hold"),
        (pack({"a": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}}), r"that numpy can hold"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path, data, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=message):
        read_safetensors(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"model\.safetensors: expected a safetensors file, found: No such file"):
        read_safetensors(tmp_path / "model.safetensors")


def test_types_that_numpy_lacks_are_refused_by_name(tmp_path):
    tensors = {"a": torch.zeros(2).to(torch.float8_e4m3fn), "b": torch.zeros(2)}
    save_torch_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedError, match=r"expected tensors of F64, .*, found F8_E4M3"):
        read_safetensors(tmp_path / "model.safetensors")


def test_damaged_files_give_one_line_or_tensors(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones(5, np.float16)}, path)
    assert len(refusals(read_safetensors, path, damaged_copies(path.read_bytes(), 300))) > 300
