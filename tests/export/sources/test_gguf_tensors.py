import struct

import gguf
import numpy as np
import pytest

from edgekit.errors import SourceError
from edgekit.export.sources.gguf_file import parse_gguf
from edgekit.export.sources.gguf_tensors import read_gguf_tensor
from edgekit.graph.tensors import BlockQuantizedTensor
from tests.gguf_files import pack_gguf, random_array, tensor, write_gguf

CODES = {kind.name: kind.value for kind in gguf.GGMLQuantizationType}


@pytest.fixture
def read(tmp_path):
    """Reads the one tensor of a file that holds these bytes."""

    def read(kind, dimensions, data, axis=1):
        path = tmp_path / "model.gguf"
        path.write_bytes(pack_gguf(tensors=[tensor("w", dimensions, CODES[kind])], data=data))
        return read_gguf_tensor(parse_gguf(path), "w", axis)

    return read


def half(*values):
    return np.array(values, "<f2").tobytes()


def test_q8_0_keeps_its_integers_and_its_scale(read):
    quantised = np.arange(-16, 16, dtype=np.int8)
    quantised[0] = -128
    found = read("Q8_0", [32, 2], (half(0.5) + quantised.tobytes()) + (half(-0.25) + bytes(32)))
    assert isinstance(found, BlockQuantizedTensor)
    assert (found.bits, found.block_size, found.axis, found.shape) == (8, 32, 1, (2, 32))
    np.testing.assert_array_equal(found.scales, [[0.5], [-0.25]])
    np.testing.assert_array_equal(found.values[0, 0], quantised.astype(int) + 128)
    np.testing.assert_array_equal(found.dequantize()[0], quantised * np.float32(0.5))
    assert found.zero_points is None
    assert found.offsets is None


def test_q4_0_holds_value_j_and_value_j_plus_16_in_one_byte(read):
    low, high = np.arange(16), np.arange(16)[::-1]
    found = read("Q4_0", [32], half(2) + (low | high << 4).astype(np.uint8).tobytes())
    np.testing.assert_array_equal(found, 2 * (np.concatenate([low, high]) - 8))
    blocks = read("Q4_0", [32, 1], half(2) + (low | high << 4).astype(np.uint8).tobytes(), axis=0)
    assert (blocks.bits, blocks.shape, blocks.zero_points, blocks.offsets) == (4, (32, 1), None, None)
    np.testing.assert_array_equal(blocks.values[0, 0, :2], [0x10, 0x32])  # neighbours, the first one low
    np.testing.assert_array_equal(blocks.dequantize()[:, 0], found)


def test_q4_1_keeps_its_minimum_as_an_offset(read):
    low, high = np.arange(16), np.arange(16)[::-1]
    found = read("Q4_1", [32, 1], half(0.1, -0.7) + (low | high << 4).astype(np.uint8).tobytes())
    scale, minimum = np.float32(np.float16(0.1)), np.float32(np.float16(-0.7))
    expected = np.concatenate([low, high]).astype(np.float32) * scale + minimum
    np.testing.assert_array_equal(found.dequantize()[0], expected)
    np.testing.assert_array_equal(found.offsets, [[minimum]])
    np.testing.assert_array_equal(found.unpacked_zero_points(), [[0]])


@pytest.mark.parametrize(("kind", "bits"), [("Q8_0", 8), ("Q4_0", 4), ("Q4_1", 4)])
@pytest.mark.parametrize("axis", [0, 1])
def test_blocks_dequantise_to_the_bits_that_the_gguf_package_gives(tmp_path, kind, bits, axis):
    # An odd number of blocks a row, whose packed zero points need padding.
    weights = {"w": random_array((5, 96), scale=0.1)}
    file = parse_gguf(write_gguf(tmp_path / "model.gguf", {}, weights, {"w": kind}))
    found = read_gguf_tensor(file, "w", axis)
    stored = gguf.quantize(weights["w"], gguf.GGMLQuantizationType[kind])
    expected = gguf.dequantize(stored, gguf.GGMLQuantizationType[kind])
    np.testing.assert_array_equal(found.dequantize(), expected.T if axis == 0 else expected)
    assert found.bits == bits


@pytest.mark.parametrize(("kind", "dtype"), [("F32", "<f4"), ("F16", "<f2")])
def test_floats_become_float32(read, kind, dtype):
    values = np.array([[1.5, -2, 0.1], [3, 4e-3, 6e4]], dtype)
    found = read(kind, [3, 2], values.tobytes())
    np.testing.assert_array_equal(found, values.astype(np.float32))
    assert found.dtype == np.float32


def test_bfloat16_is_the_upper_half_of_a_float32(read):
    values = np.array([1.5, -2, 3.140625], np.float32)
    np.testing.assert_array_equal(read("BF16", [3], (values.view("<u4") >> 16).astype("<u2").tobytes()), values)


# The formulas of ggml/src/ggml-quants.c, one value at a time.
def q5_0(block):
    (d,), (bits,) = np.frombuffer(block[:2], "<f2"), struct.unpack("<I", block[2:6])
    nibbles = [byte & 15 for byte in block[6:]] + [byte >> 4 for byte in block[6:]]
    return [d * np.float32((n | (bits >> j & 1) << 4) - 16) for j, n in enumerate(nibbles)]


def q5_1(block):
    (d, m), (bits,) = np.frombuffer(block[:4], "<f2"), struct.unpack("<I", block[4:8])
    nibbles = [byte & 15 for byte in block[8:]] + [byte >> 4 for byte in block[8:]]
    return [np.float32(d) * (n | (bits >> j & 1) << 4) + np.float32(m) for j, n in enumerate(nibbles)]


def six_bit_scales(packed):
    """Eight scales and eight minima of 6 bits in 12 bytes."""
    scales = [packed[j] & 63 for j in range(4)] + [packed[j + 8] & 15 | packed[j] >> 6 << 4 for j in range(4)]
    minima = [packed[j + 4] & 63 for j in range(4)] + [packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4 for j in range(4)]
    return scales, minima


def q4_k(block, fifth=bytes(32), values=16):
    d, dmin = np.frombuffer(block[:4], "<f2").astype(np.float32)
    scales, minima = six_bit_scales(block[4:16])
    out = []
    for group in range(8):
        packed = block[values + group // 2 * 32 :][:32]
        for byte, high in zip(packed, fifth, strict=True):
            value = (byte >> 4 if group % 2 else byte & 15) | (high >> group & 1) << 4
            out.append(d * scales[group] * value - dmin * minima[group])
    return out


def q5_k(block):
    return q4_k(block, block[16:48], 48)


def q6_k(block):
    low, high, scales = block[:128], block[128:192], np.frombuffer(block[192:208], np.int8)
    d = np.frombuffer(block[208:], "<f2").astype(np.float32)[0]
    out = []
    for index in range(256):
        half, quarter, at = index // 128, index % 128 // 32, index % 32
        nibble = low[half * 64 + quarter % 2 * 32 + at] >> quarter // 2 * 4 & 15
        value = (nibble | (high[half * 32 + at] >> 2 * quarter & 3) << 4) - 32
        out.append(d * np.float32(scales[index // 16]) * value)
    return out


FORMULAS = {"Q5_0": (q5_0, 22, 0), "Q5_1": (q5_1, 24, 0), "Q4_K": (q4_k, 144, 0), "Q5_K": (q5_k, 176, 0)}
FORMULAS |= {"Q6_K": (q6_k, 210, 208)}


@pytest.mark.parametrize("kind", FORMULAS)
def test_other_types_are_dequantised_as_ggml_defines_them(read, kind):
    formula, size, scale_at = FORMULAS[kind]
    per_block = 32 if size < 30 else 256
    blocks = np.random.default_rng(3).integers(0, 256, (6, size), np.uint8)
    blocks[:, scale_at : scale_at + 2] = np.random.default_rng(4).normal(size=(6, 1)).astype("<f2").view(np.uint8)
    if kind in ("Q5_1", "Q4_K", "Q5_K"):
        blocks[:, 2:4] = np.random.default_rng(5).normal(size=(6, 1)).astype("<f2").view(np.uint8)
    found = read(kind, [2 * per_block, 3], blocks.tobytes())
    expected = np.array([formula(block.tobytes()) for block in blocks], np.float32).reshape(3, 2 * per_block)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("F32", struct.pack("<f", float("nan")) * 32),
        ("F16", half(np.inf) * 32),
        ("Q8_0", half(np.nan) + bytes(32)),
        ("Q4_0", half(np.inf) + bytes(16)),
        ("Q4_1", half(1, np.nan) + bytes(16)),
        ("Q5_0", half(np.inf) + bytes(20)),
    ],
)
def test_values_that_are_not_finite_are_refused(read, kind, data):
    with pytest.raises(SourceError, match=r"expected finite values in 'w', found infinity or NaN; it is damaged"):
        read(kind, [32, 1], data)
