import struct

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.errors import EdgekitError, SourceError, UnsupportedError
from edgekit.export.sources.gguf_file import parse_gguf
from edgekit.export.sources.gguf_tensors import read_gguf_tensor
from tests.damage import damaged_copies, refusals
from tests.gguf_files import (
    ARRAY,
    BOOL,
    INT32,
    Q4_0,
    STRING,
    UINT8,
    UINT32,
    UINT64,
    key,
    pack_gguf,
    random_array,
    tensor,
    text,
    write_gguf,
)

METADATA = {
    "llama.block_count": 2,
    "llama.rope.freq_base": 1e5,
    "tokenizer.ggml.add_bos_token": True,
    "general.name": "Größe",
    "tokenizer.ggml.tokens": ["a", "", "日本", "🙂"],
    "tokenizer.ggml.scores": [0.5, -1.0],
    "tokenizer.ggml.token_type": [1, 3, 1],
    "some.flags": [True, False, True],
}
TENSORS = {"a": random_array((3, 64)), "b": random_array(5), "c": random_array((4, 256), 1), "d": random_array((2, 32))}
KINDS = {"a": "Q4_0", "c": "Q8_0", "d": "F16"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


def read_all(path):
    file = parse_gguf(path)
    return {name: read_gguf_tensor(file, name) for name in file.tensors}


def test_everything_is_as_the_gguf_package_reads_it(path):
    file = parse_gguf(write_gguf(path, METADATA, TENSORS, KINDS))
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert {name: list(v) if isinstance(v, np.ndarray) else v for name, v in file.metadata.items()} == fields
    assert file.metadata["tokenizer.ggml.add_bos_token"] is True
    assert list(file.tensors) == [stored.name for stored in reader.tensors]
    for stored in reader.tensors:
        found = file.tensors[stored.name]
        assert found.kind == stored.tensor_type.name
        assert found.shape == tuple(reversed(stored.shape.tolist()))
        assert bytes(found.data) == stored.data.tobytes()


def test_version_2_has_the_same_layout(path):
    path.write_bytes(pack_gguf([key("a", UINT32, b"\7\0\0\0")], version=2))
    assert parse_gguf(path).metadata == {"a": 7}


def test_an_alignment_of_its_own_moves_the_tensors(path):
    data = np.arange(3, dtype="<f4").tobytes()
    keys = [key("general.alignment", UINT32, struct.pack("<I", 128))]
    path.write_bytes(pack_gguf(keys, [tensor("a", [3])], data, alignment=128))
    np.testing.assert_array_equal(read_gguf_tensor(parse_gguf(path), "a"), [0, 1, 2])


ONE = tensor("a", [4])
FOUR = b"\0" * 16


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"found an empty file"),
        (b"GGU", r"with 4 bytes of the magic number at offset 0, found 3 bytes"),
        (pack_gguf(magic=b"GGJT"), r"expected a GGUF model, found a file that begins with b'GGJT'"),
        (pack_gguf()[:7], r"with 4 bytes of the version at offset 4, found 3 bytes; the file is cut short or damaged"),
        (pack_gguf()[:20], r"16 bytes of counts at offset 8, found 12"),
        (pack_gguf(counts=(2**63, 0)), r"expected at most 65536 tensors, found 9223372036854775808"),
        (pack_gguf(counts=(0, 2**40)), r"expected at most 4096 metadata keys, found 1099511627776"),
        (pack_gguf(counts=(0, 3))[:28], r"with 8 bytes of the length of a metadata key at offset 24, found 4"),
        (pack_gguf([struct.pack("<Q", 2**62)]), r"with 4611686018427387904 bytes of a metadata key at offset 32"),
        (pack_gguf([key(b"\xff\xfe", UINT32, b"\0" * 4)]), r"expected UTF-8 in a metadata key, found b'\\xff\\xfe'"),
        (pack_gguf([key("k", STRING, text(b"a\xc3"))]), r"expected UTF-8 in 'k', found b'a\\xc3'; it is damaged"),
        (pack_gguf([key("k", BOOL, b"\1")] * 2), r"expected each metadata key once, found 'k' twice"),
        (pack_gguf([key("k", 77, b"")]), r"expected a value type from 0 to 12 for 'k', found 77"),
        (
            pack_gguf([key("k", ARRAY, struct.pack("<IQ", 13, 1))]),
            r"expected a value type from 0 to 12 in 'k', found 13",
        ),
        (pack_gguf([key("k", ARRAY, struct.pack("<IQ", INT32, 2**61))]), r"with 9223372036854775808 bytes of 'k'"),
        (pack_gguf([key("k", ARRAY, struct.pack("<IQ", UINT8, 2**40))]), r"with 1099511627776 bytes of 'k'"),
        (pack_gguf([key("k", ARRAY, struct.pack("<IQ", STRING, 2**61))]), r"found 'k' of 2305843009213693952 texts"),
        (
            pack_gguf([key("k", ARRAY, struct.pack("<IQ", STRING, 2) + text("a") + struct.pack("<Q", 2**63))]),
            r"expected 2 texts in 'k', found 1 and the file's end",
        ),
        (pack_gguf(tensors=[tensor("a", [])]), r"expected 1 to 4 dimensions of 'a', found 0"),
        (pack_gguf(tensors=[tensor("a", [1] * 5)]), r"expected 1 to 4 dimensions of 'a', found 5"),
        (pack_gguf(tensors=[tensor("a", [4, 0])]), r"expected positive dimensions of 'a', found \[0, 4\]"),
        (pack_gguf(tensors=[ONE], data=FOUR[1:]), r"expected 16 bytes of 'a' at offset 64, found a file of 79 bytes"),
        (
            pack_gguf(tensors=[tensor("a", [2**62, 2**62])], data=FOUR),
            rf"expected {4 << 124} bytes of 'a' at offset 96, found a file of 112 bytes; it is cut short or damaged",
        ),
        (pack_gguf(tensors=[tensor("a", [4], offset=2**63)], data=FOUR), r"bytes of 'a' at offset 9223372036854775872"),
        (
            pack_gguf(tensors=[tensor("a", [1], offset=4)], data=FOUR),
            r"expected 'a' at a multiple of 32, found offset 4",
        ),
        (pack_gguf(tensors=[ONE, ONE], data=FOUR), r"expected each tensor once, found 'a' twice"),
        (pack_gguf(tensors=[ONE, tensor("b", [4])], data=FOUR), r"tensors that don't overlap, found 'a' and 'b'"),
        (
            pack_gguf(tensors=[tensor("a", [33], Q4_0)], data=FOUR * 3),
            r"expected rows of whole Q4_0 blocks of 32 in 'a', found rows of 33",
        ),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(path, data, message):
    path.write_bytes(data)
    with pytest.raises(SourceError, match=message) as caught:
        parse_gguf(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", [struct.pack("<I", n) for n in (0, 4, 24, 1 << 31)])
def test_an_alignment_that_is_no_power_of_two_from_8_is_refused(path, value):
    path.write_bytes(pack_gguf([key("general.alignment", UINT32, value)], [ONE], FOUR))
    with pytest.raises(SourceError, match=r"expected general\.alignment to be a power of two from 8, found"):
        parse_gguf(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pack_gguf(version=1), r"expected a GGUF model of version 2 or 3, found version 1; convert the model again"),
        (pack_gguf(version=3 << 24), r"expected a little-endian GGUF model, found a big-endian one"),
        (
            pack_gguf([key("k", ARRAY, struct.pack("<IQ", ARRAY, 1))]),
            r"expected plain arrays, found an array of arrays in 'k'",
        ),
        (
            pack_gguf([key("split.count", UINT64, struct.pack("<Q", 3))]),
            r"expected a model in one file, found one of 3; merge them first",
        ),
        (
            pack_gguf(tensors=[ONE, tensor("b", [256], 10), tensor("c", [256], 10), tensor("d", [9], 99)], data=FOUR),
            r"expected tensors of F32, .*, Q6_K, found Q2_K \('b'\), type 99 \('d'\); use another file",
        ),
    ],
)
def test_what_edgekit_does_not_read_is_refused_by_name(path, data, message):
    path.write_bytes(data)
    with pytest.raises(UnsupportedError, match=message):
        parse_gguf(path)


def test_a_pile_of_texts_is_refused_before_it_fills_the_memory(path):
    # Two million empty texts pass; a list that says more does not, though the file bears it out.
    count = (1 << 21) + 1
    path.write_bytes(pack_gguf([key("k", ARRAY, struct.pack("<IQ", STRING, count) + bytes(8 * count))]))
    with pytest.raises(SourceError, match=r"expected a list that fits the file, found 'k' of 2097153 texts"):
        parse_gguf(path)


def test_a_header_of_a_model_is_never_larger_than_the_limit(path):
    path.write_bytes(pack_gguf([key("k", STRING, text(b"a" * (64 << 20)))]))
    with pytest.raises(SourceError, match=r"with 67108864 bytes of 'k' at offset 45, found 67108819 bytes"):
        parse_gguf(path)


def test_damaged_files_give_one_line_or_tensors(path):
    data = write_gguf(path, METADATA, TENSORS, KINDS).read_bytes()
    assert len(refusals(read_all, path, damaged_copies(data, 150))) > 150


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.data())
def test_no_change_of_bytes_brings_another_exception(path, changes):
    if not path.exists():
        write_gguf(path, METADATA, TENSORS, KINDS)
        path.with_suffix(".good").write_bytes(path.read_bytes())
    copy = bytearray(path.with_suffix(".good").read_bytes())
    # Eight bytes at once reach every length, count and offset.
    for _ in range(changes.draw(st.integers(1, 3))):
        at = changes.draw(st.integers(0, len(copy) - 9))
        copy[at : at + 8] = changes.draw(st.binary(min_size=8, max_size=8) | st.sampled_from([b"\xff" * 8, bytes(8)]))
    path.write_bytes(copy[: changes.draw(st.integers(0, len(copy)) | st.just(len(copy)))])
    message = f"{path}: fine"
    try:
        read_all(path)
    except EdgekitError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1


def test_floats_are_views_of_the_file(path):
    file = parse_gguf(write_gguf(path, {}, {"a": random_array((64, 64))}))
    array = read_gguf_tensor(file, "a")
    assert np.shares_memory(array, np.frombuffer(file.tensors["a"].data, np.uint8))
    np.testing.assert_array_equal(array, random_array((64, 64)))
