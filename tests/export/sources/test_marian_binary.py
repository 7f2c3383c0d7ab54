import math
import struct
import tracemalloc

import numpy as np
import pytest

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.marian_binary import read_marian_binary
from edgekit.graph.tensors import QuantizedTensor
from tests.bergamot_fixture import (
    FLOAT32,
    INT8,
    INTGEMM8,
    config_item,
    float_item,
    intgemm8_data,
    intgemm8_item,
    make_student,
    pack_marian,
)
from tests.damage import damaged_copies, refusals

CONFIG = config_item({"type": "transformer", "dim-emb": 3})
# W = [[1, 2, 3], [4, 5, 6]] is [in, out]; the file holds its transpose.
MATRIX = ("layer_W1", INTGEMM8, (2, 3), intgemm8_data(np.array([[1, 4], [2, 5], [3, 6]], np.int8), 2.0))
EMBEDDING = ("Wemb", INTGEMM8, (2, 3), intgemm8_data(np.array([[1, 2, 3], [4, 5, -127]], np.int8), 4.0))
BIAS = float_item("layer_b1", [[0.5, -1.5, 2.0]])


@pytest.fixture
def write(tmp_path):
    def write(*items, **options):
        path = tmp_path / "model.bin"
        path.write_bytes(pack_marian([*items, CONFIG], **options))
        return path

    return write


def test_a_matrix_is_turned_to_in_by_out_and_its_scale_inverted(write):
    tensor = read_marian_binary(write(MATRIX)).tensors["layer_W1"]
    assert isinstance(tensor, QuantizedTensor)
    np.testing.assert_array_equal(tensor.values, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(tensor.dequantize(), [[0.5, 1, 1.5], [2, 2.5, 3]])
    assert (tensor.scale, tensor.axis) == (0.5, None)


@pytest.mark.parametrize("name", ["Wemb", "encoder_Wemb", "decoder_Wemb"])
def test_an_embedding_stays_as_it_is_stored(write, name):
    tensor = read_marian_binary(write((name, *EMBEDDING[1:]))).tensors[name]
    np.testing.assert_array_equal(tensor.dequantize(), [[0.25, 0.5, 0.75], [1, 1.25, -31.75]])


def test_floats_keep_their_shape_and_the_configuration_is_parsed(write):
    binary = read_marian_binary(write(BIAS))
    np.testing.assert_array_equal(binary.tensors["layer_b1"], np.array([[0.5, -1.5, 2.0]], np.float32))
    assert binary.config == {"type": "transformer", "dim-emb": 3}
    assert list(binary.tensors) == ["layer_b1"]


def test_activation_scales_are_numbers_whichever_type_stores_them(write):
    quantised = ("Wemb_QuantMultA", INTGEMM8, (1, 1), struct.pack("<bf", 127, 12.7) + b"\xa5" * 251)
    tensors = read_marian_binary(write(quantised, float_item("layer_W1_QuantMultA", [[31.5]]))).tensors
    assert tensors["Wemb_QuantMultA"].shape == tensors["layer_W1_QuantMultA"].shape == ()
    assert float(tensors["Wemb_QuantMultA"]) == pytest.approx(10.0)
    assert float(tensors["layer_W1_QuantMultA"]) == 31.5


def test_the_reciprocal_of_a_scale_is_the_nearest_float(write):
    scale = np.float32(1083.7)
    item = ("W", INTGEMM8, (1, 1), intgemm8_data(np.array([1], np.int8), scale))
    assert read_marian_binary(write(item)).tensors["W"].scale == np.float32(1 / np.float64(scale))


@pytest.mark.parametrize("separate", [False, True])
def test_a_student_has_all_items_of_the_specified_shapes(tmp_path, separate):
    sizes = {"vocab": 120, "d": 8, "ffn": 24, "encoder_layers": 3, "decoder_layers": 2}
    student = make_student(tmp_path, **sizes, heads=2, separate_vocab=separate)
    tensors = read_marian_binary(student.model).tensors
    v, d, f = 120, 8, 24
    encoder = 3 * (4 * d * d + 4 * d + 2 * d + 2 * d * f + f + d + 2 * d + 6)
    decoder = 2 * (2 * d * d + d + 2 * d + 4 * d * d + 4 * d + 2 * d + 2 * d * f + f + d + 2 * d + 8) + v
    embeddings = 2 * v * d + 1 if separate else v * d + 2
    # The formula is the format's own count of parameters, which equals that of the published models.
    assert sum(math.prod(tensor.shape) for tensor in tensors.values()) == encoder + decoder + embeddings
    assert tensors["encoder_l1_ffn_W1"].shape == (d, f)
    assert tensors["decoder_Wemb" if separate else "Wemb"].shape == (v, d)


def test_reading_copies_no_weights(tmp_path):
    student = make_student(tmp_path, vocab=2000, d=512, ffn=64, encoder_layers=1, decoder_layers=1, heads=2)
    tracemalloc.start()
    tensors = read_marian_binary(student.model).tensors
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tensors["Wemb"].values.nbytes == 1_024_000
    assert peak < 600_000


def test_dequantised_weights_are_those_that_were_quantised(tmp_path):
    weights = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    path = tmp_path / "model.bin"
    path.write_bytes(pack_marian([intgemm8_item("layer_W1", weights), CONFIG]))
    step = np.abs(weights).max() / 127
    difference = read_marian_binary(path).tensors["layer_W1"].dequantize() - weights
    assert np.abs(difference).max() <= step / 2 * 1.0001


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([BIAS, BIAS], r"each item once, found 'layer_b1' twice"),
        ([("W", INTGEMM8, (2, 2), intgemm8_data(np.array([1, 2, 3, -128], np.int8), 1.0))], r"'W', found -128"),
        ([("W", INTGEMM8, (1, 4), intgemm8_data(np.ones(4, np.int8), 0.0))], r"finite scale of 'W', found 0.0"),
        ([("W", INTGEMM8, (1, 4), intgemm8_data(np.ones(4, np.int8), -2.0))], r"scale of 'W', found -2.0"),
        ([("W", INTGEMM8, (1, 4), intgemm8_data(np.ones(4, np.int8), math.nan))], r"scale of 'W', found nan"),
        ([("W", INTGEMM8, (1, 4), intgemm8_data(np.ones(4, np.int8), math.inf))], r"scale of 'W', found inf"),
        ([("W", INTGEMM8, (1, 4), intgemm8_data(np.ones(4, np.int8), 1e-45))], r"scale of 'W', found"),
        ([("W", INTGEMM8, (4,), intgemm8_data(np.ones(4, np.int8), 1.0))], r"a matrix 'W', found shape \[4\]"),
        ([float_item("b", [[1.0, math.nan]])], r"finite values in 'b', found infinity or NaN"),
        ([float_item("b", [[math.inf]])], r"finite values in 'b'"),
        ([float_item("W_QuantMultA", [[1.0, 2.0]])], r"one value in 'W_QuantMultA', found shape \[1, 2\]"),
        ([float_item("W_QuantMultA", [[0.0]])], r"scale of 'W_QuantMultA', found 0.0"),
        ([float_item("W_QuantMultA", [[-3.0]])], r"scale of 'W_QuantMultA', found -3.0"),
        ([("b", FLOAT32, (1, 65), b"\0" * 256)], r"expected 260 bytes for 'b' of shape \[1, 65\], found 256"),
        ([("W", INTGEMM8, (16, 16), b"\1" * 256)], r"expected 260 bytes for 'W' of shape \[16, 16\], found 256"),
        ([("b", FLOAT32, (2**31 - 1,) * 4, b"\0" * 256)], r"expected \d{30,} bytes for 'b'"),
        ([("b", FLOAT32, (1, 0), b"")], r"positive dimensions of 'b', found \[1, 0\]"),
        ([("b", FLOAT32, (-4, -4), b"\0" * 256)], r"positive dimensions of 'b', found \[-4, -4\]"),
        ([("b", FLOAT32, (), b"\0" * 256)], r"1 to 4 dimensions of 'b', found 0"),
        ([("b", FLOAT32, (1,) * 5, b"\0" * 256)], r"1 to 4 dimensions of 'b', found 5"),
        ([("", FLOAT32, (1,), b"\0" * 256)], r"item names of 2 to 256 bytes, found one of 1"),
        ([("b" * 256, FLOAT32, (1,), b"\0" * 256)], r"item names of 2 to 256 bytes, found one of 257"),
        ([("a\nb", FLOAT32, (1,), b"\0" * 256)], r"printable item names that end in NUL, found b'a\\nb"),
        ([("wörter", FLOAT32, (1,), b"\0" * 256)], r"printable item names"),
    ],
)
def test_items_that_make_no_sense_are_refused(write, items, message):
    with pytest.raises(SourceError, match=message):
        read_marian_binary(write(*items))


def test_other_element_types_are_refused_by_name_all_at_once(write):
    items = [("a", 0x4102, (1,), b"\0" * 256), ("b", 0x0402, (1,), b"\0" * 256), ("c", 0x0808, (1,), b"\0" * 256)]
    message = r"found intgemm16 \('a'\), float16 \('b'\), type 0x0808 \('c'\); use the intgemm8 model"
    with pytest.raises(UnsupportedError, match=message):
        read_marian_binary(write(*items))
    with pytest.raises(UnsupportedError, match=r"found int8 \('notes'\)"):
        read_marian_binary(write(("notes", INT8, (4,), b"text")))


def test_a_model_without_configuration_is_refused(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(pack_marian([BIAS]))
    with pytest.raises(SourceError, match=r"expected the item special:model.yml, found none"):
        read_marian_binary(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"- a\n- b\0", r"special:model.yml: expected a mapping as an object of named values, found list"),
        (b"a: [1, 2\0", r"special:model.yml: expected plain YAML, found"),
        (b"a: !!python/object/apply:os.system ['true']\0", r"expected plain YAML, found: a tag in line 1"),
    ],
)
def test_a_configuration_that_is_no_plain_mapping_is_refused(tmp_path, text, message):
    path = tmp_path / "model.bin"
    path.write_bytes(pack_marian([BIAS, ("special:model.yml", INT8, (len(text),), text)]))
    with pytest.raises(SourceError, match=message):
        read_marian_binary(path)


@pytest.mark.parametrize("value", [20_001, 2**32, 2**63, 2**64 - 1])
def test_counts_and_lengths_beyond_the_file_are_refused(tmp_path, value):
    good = bytearray(pack_marian([MATRIX, BIAS, CONFIG]))
    path = tmp_path / "model.bin"
    # Count of items; then name length, dimensions and data length of the first; then the alignment.
    alignment = 16 + 3 * 32 + sum(len(name) + 1 for name in ("layer_W1", "layer_b1", CONFIG[0])) + 5 * 4
    for offset in (8, 16, 32, 40, alignment):
        path.write_bytes(good[:offset] + struct.pack("<Q", value) + good[offset + 8 :])
        with pytest.raises(SourceError, match=r"expected .*, found (one of )?\d+"):
            read_marian_binary(path)


def test_names_that_lack_their_nul_are_refused(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(pack_marian([BIAS, CONFIG]).replace(b"layer_b1\0", b"layer_b11"))
    with pytest.raises(SourceError, match=r"end in NUL, found b'layer_b11'"):
        read_marian_binary(path)


def test_other_versions_and_bytes_at_the_end_are_refused(write, tmp_path):
    with pytest.raises(SourceError, match=r"version 1, found version 2; is it another format\?"):
        read_marian_binary(write(BIAS, version=2))
    path = tmp_path / "longer.bin"
    path.write_bytes(pack_marian([BIAS, CONFIG]) + b"\0")
    with pytest.raises(SourceError, match=r"the last item to end the file, found 1 bytes after it"):
        read_marian_binary(path)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"missing.bin: expected a Marian binary model, found: No such file"):
        read_marian_binary(tmp_path / "missing.bin")
    with pytest.raises(SourceError, match=r"found something that is not a regular file"):
        read_marian_binary(tmp_path)
    empty = tmp_path / "empty.bin"
    empty.touch()
    with pytest.raises(SourceError, match=r"found an empty file; fetch it again"):
        read_marian_binary(empty)
    pointer = tmp_path / "pointer.bin"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 17140836\n")
    with pytest.raises(SourceError, match=r"found a Git LFS pointer to it; fetch the file with git lfs pull"):
        read_marian_binary(pointer)


def test_damaged_files_give_one_line_or_a_model(tmp_path):
    student = make_student(tmp_path, vocab=100, d=8, ffn=8, encoder_layers=1, decoder_layers=1, heads=2)
    data = student.model.read_bytes()
    messages = refusals(read_marian_binary, tmp_path / "damaged.bin", damaged_copies(data, 300))
    # Each truncation is one; changed weights may be read.
    assert len(messages) > 350
