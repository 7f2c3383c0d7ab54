import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from io import BytesIO

import numpy as np
import pytest
import torch

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.torch_checkpoint import read_torch_checkpoint
from tests.damage import damaged_copies, refusals
from tests.torch_files import archive, state_dict, stream, tensor, text

VALUES = np.arange(6, dtype="<f4")


@pytest.fixture
def read(tmp_path):
    def read(data):
        path = tmp_path / "pytorch_model.bin"
        path.write_bytes(data)
        return read_torch_checkpoint(path)

    return read


@pytest.fixture(params=["archive", "stream"])
def save(request):
    """torch.save in the format of torch 1.6 and later, or of older versions."""

    def save(value):
        written = BytesIO()
        torch.save(value, written, _use_new_zipfile_serialization=request.param == "archive")
        return written.getvalue()

    return save


def assert_same(arrays, tensors):
    assert list(arrays) == list(tensors)
    for name, array in arrays.items():
        half = tensors[name].dtype in (torch.float16, torch.bfloat16)
        expected = (tensors[name].float() if half else tensors[name]).detach().numpy()
        np.testing.assert_array_equal(array, expected, err_msg=name)
        assert array.dtype == expected.dtype
        assert array.flags.c_contiguous
        assert array.flags.aligned


def test_every_type_is_read_as_torch_reads_it(read, save):
    kinds = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    rng = np.random.default_rng(0)
    tensors = {kind: torch.tensor(rng.normal(0, 50, (3, 5))).to(getattr(torch, kind)) for kind in kinds}
    assert_same(read(save(tensors)), tensors)


def test_bfloat16_keeps_infinities_and_not_a_number(read, save):
    values = torch.tensor([float("inf"), float("-inf"), float("nan"), -0.0, 3.0]).to(torch.bfloat16)
    np.testing.assert_array_equal(read(save({"a": values}))["a"], [np.inf, -np.inf, np.nan, -0.0, 3.0])


def test_views_of_one_storage_are_read_as_torch_reads_them(read, save):
    base = torch.arange(60.0).reshape(3, 4, 5)
    tensors = {
        "base": base,
        "transposed": base.transpose(0, 2),
        "strided": base[:, ::2, 1:4:2],
        "offset": base[1, 2:],
        "one": base[2:, :1, 3],
        "scalar": base[1, 1, 1],
        "empty": base[:0],
        "half": base.half().permute(1, 2, 0),
    }
    assert_same(read(save(tensors)), tensors)


def test_a_modules_state_dict_with_its_metadata_and_parameters(read, save):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    assert_same(read(save(module.state_dict())), module.state_dict())
    parameters = OrderedDict(module.named_parameters())
    assert_same(read(save(parameters)), parameters)


def test_tied_weights_stay_one_array(read, save):
    weight = torch.arange(6.0).reshape(2, 3).half()
    arrays = read(save({"embedding": weight, "lm_head": weight, "other": weight[:1]}))
    assert arrays["embedding"] is arrays["lm_head"]
    assert arrays["other"].shape == (1, 3)


def test_reading_an_archive_copies_no_weights(read):
    written = BytesIO()
    torch.save({"w": torch.zeros(1000, 2000)}, written)
    data = written.getvalue()
    tracemalloc.start()
    arrays = read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert arrays["w"].nbytes == 8_000_000
    assert peak < 1 << 20


def test_a_size_in_place_of_a_tuple_is_read(read):
    opcodes = tensor().replace(b"(\x8a\x01\x02\x8a\x01\x03t", b"ctorch\nSize\n(\x8a\x01\x02\x8a\x01\x03t\x85R")
    assert b"Size" in opcodes
    np.testing.assert_array_equal(
        read(archive(state_dict(w=opcodes), {"0": VALUES.tobytes()}))["w"], [[0, 1, 2], [3, 4, 5]]
    )


def test_the_handwritten_files_are_what_torch_reads(read, tmp_path):
    pickle = state_dict(w=tensor())
    path = tmp_path / "check.bin"
    for data in (
        archive(pickle, {"0": VALUES.tobytes()}, version=b"3\n"),
        stream(state_dict(w=tensor(view=b"N")), [("0", 6, VALUES.tobytes())]),
    ):
        path.write_bytes(data)
        np.testing.assert_array_equal(torch.load(path)["w"], VALUES.reshape(2, 3))
        np.testing.assert_array_equal(read(data)["w"], VALUES.reshape(2, 3))


def test_storages_of_the_old_format_are_read_in_the_order_of_their_keys(read):
    pickle = state_dict(a=tensor("7", 2, (2,), (1,)), b=tensor("5", 1, (1,), (1,), kind="LongStorage"))
    data = stream(pickle, [("5", 1, struct.pack("<q", 9)), ("7", 2, struct.pack("<ff", 1, 2))])
    arrays = read(data)
    np.testing.assert_array_equal(arrays["a"], [1, 2])
    np.testing.assert_array_equal(arrays["b"], [9])


@pytest.mark.parametrize(
    ("tensor_options", "message"),
    [
        ({"size": (2, 4), "stride": (4, 1), "elements": 6}, r"'w' of size \[2, 4\] within its storage of 6 elements"),
        ({"offset": 1}, r"'w' of size \[2, 3\] within its storage of 6 elements, found it reaching beyond"),
        ({"stride": (4, 1)}, r"found it reaching beyond"),
        ({"offset": 2**64}, r"found it reaching beyond"),
        ({"stride": (2**63, 1)}, r"found it reaching beyond"),
        ({"size": (2**32, 2**32), "stride": (0, 0)}, r"found it reaching beyond"),
        ({"size": (7,), "stride": (0,)}, r"found it reaching beyond"),
        ({"size": (0, 2**62), "stride": (1, 1)}, r"found it reaching beyond"),
        ({"offset": -1}, r"a damaged one"),
        ({"stride": (-3, -1)}, r"a damaged one"),
        ({"size": (-2, -3)}, r"a damaged one"),
        ({"size": (2, 3), "stride": (1,)}, r"a damaged one"),
        ({"size": (1,) * 9, "stride": (1,) * 9}, r"a damaged one"),
        ({"elements": -6}, r"a damaged one"),
        ({"elements": 7}, r"expected 28 bytes in the storage '0', found 24"),
        ({"elements": 2**62}, r"expected \d+ bytes in the storage '0', found 24"),
        ({"key": "1"}, r"expected 24 bytes in the storage '1', found 0"),
        ({"key": "../0"}, r"expected 24 bytes in the storage '../0', found 0"),
        ({"kind": "DoubleStorage"}, r"expected 48 bytes in the storage '0', found 24"),
        ({"kind": "QInt8Storage"}, r"refusing 'torch.QInt8Storage', which no state dict needs"),
        ({"view": b"(K\x00K\x00K\x00t"}, r"a damaged one"),
    ],
)
def test_tensors_that_do_not_fit_their_storage_are_refused(read, tensor_options, message):
    with pytest.raises(SourceError, match=message):
        read(archive(state_dict(w=tensor(**tensor_options)), {"0": VALUES.tobytes()}))


def test_overlapping_views_cannot_add_up_to_more_than_the_file(read):
    values = np.zeros(20_000, "<f4").tobytes()
    views = {f"w{i}": tensor(elements=20_000, size=(10_000,), stride=(1,), offset=i) for i in range(9)}
    with pytest.raises(SourceError, match=r"at most twice the file's size, found 360000 bytes; don't use it"):
        read(archive(state_dict(**views), {"0": values}))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([torch.ones(1)], r"a state dict of tensors by name, found list"),
        (torch.ones(1), r"found TensorRef"),
        ({}, r"found an empty dict"),
        ({"model": {"w": torch.ones(1)}}, r"found dict under 'model'; save the model's state_dict\(\) alone"),
        ({"epoch": 3}, r"found int under 'epoch'"),
        ({1: torch.ones(1)}, r"found TensorRef under '1'"),
    ],
)
def test_what_is_no_state_dict_is_refused(read, save, value, message):
    with pytest.raises(SourceError, match=message):
        read(save(value))


def test_a_whole_module_is_refused_by_its_class(read, save):
    with pytest.raises(SourceError, match=r"refusing 'torch.nn.modules.linear.Linear', which no state dict needs"):
        read(save(torch.nn.Linear(1, 1)))


def test_compressed_and_repeated_entries_are_refused(read):
    pickle, storages = state_dict(w=tensor()), {"0": VALUES.tobytes()}
    with pytest.raises(SourceError, match=r"expected plain entries, found a compressed 'model/data.pkl'"):
        read(archive(pickle, storages, zipfile.ZIP_DEFLATED))
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = archive(pickle, storages, **{"data.pkl": pickle})
    with pytest.raises(SourceError, match=r"each entry once, found 'model/data.pkl' twice"):
        read(data)


def test_an_entry_that_lies_beyond_the_file_is_refused(read):
    data = bytearray(archive(state_dict(w=tensor()), {"0": VALUES.tobytes()}))
    directory = data.index(b"PK\x01\x02")
    for offset in (20, 24):  # compressed and plain size
        data[directory + offset : directory + offset + 4] = struct.pack("<I", 1 << 20)
    with pytest.raises(SourceError, match=r"'model/data.pkl' inside the file, found it cut short or moved"):
        read(bytes(data))


def test_archives_without_one_pickle_are_refused(read):
    written = BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        file.writestr("word/document.xml", "")
    with pytest.raises(
        SourceError, match=r"expected one data.pkl in a torch checkpoint, found 0; is it another archive"
    ):
        read(written.getvalue())


def test_big_endian_files_are_refused(read):
    with pytest.raises(UnsupportedError, match=r"expected little-endian tensors, found others"):
        read(archive(state_dict(w=tensor()), {"0": VALUES.tobytes()}, byteorder=b"big"))
    data = stream(state_dict(w=tensor()), [("0", 6, VALUES.tobytes())])
    with pytest.raises(UnsupportedError, match=r"expected little-endian tensors, found others"):
        read(data.replace(text("little_endian") + b"\x88", text("little_endian") + b"\x89"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<!DOCTYPE html>", r"expected a torch checkpoint, found neither a zip archive nor a pickle; fetch it again"),
        (b"PK\x03\x04 and no more", r"found a damaged zip archive \(File is not a zip file\); fetch it again"),
        (b"\x80\x02K\x01.\x80\x02K\x01.\x80\x02N.", r"found a pickle of something else"),
        (b"\x80\x02K\x01.", r"version: expected a pickled state dict, found a damaged one"),
        (b"", r"found an empty file"),
        (stream(state_dict(w=tensor()), []), r"one storage for each that the tensors use, found others"),
        (stream(state_dict(w=tensor()), [("1", 6, b"")]), r"one storage for each that the tensors use"),
        (stream(state_dict(w=tensor()), [("0", 2**62, b"")]), r"18446744073709551616 bytes of storage at offset"),
        (stream(state_dict(w=tensor()), [("0", 6, b"\0" * 23)]), r"24 bytes of storage at offset \d+, found 23"),
        (stream(state_dict(w=tensor()), [("0", 6, b"\0" * 25)]), r"found 1 bytes after it"),
        (stream(state_dict(w=tensor()), [("0", 5, b"\0" * 20)]), r"expected 24 bytes in the storage '0', found 20"),
    ],
)
def test_files_that_make_no_sense_are_refused(read, data, message):
    with pytest.raises(SourceError, match=message):
        read(data)


def test_damaged_files_give_one_line_or_tensors(save, tmp_path):
    data = save(torch.nn.Linear(30, 20).half().state_dict())
    path = tmp_path / "pytorch_model.bin"
    assert len(refusals(read_torch_checkpoint, path, damaged_copies(data, 300))) > 300
