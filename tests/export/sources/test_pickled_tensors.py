import contextlib
import os
import pickle
import struct
import time
import tracemalloc
from io import BytesIO

import pytest

from edgekit.errors import SourceError
from edgekit.export.sources import pickled_tensors
from edgekit.export.sources.pickled_tensors import STORAGES, StorageRef, TensorRef, read_pickle
from tests.torch_files import number, state_dict, tensor, text

ORDERED_DICT = b"ccollections\nOrderedDict\n"


def read(data):
    return read_pickle(BytesIO(data), "model.bin: data.pkl")


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_tensor_becomes_a_description_of_where_it_lies():
    assert read(state_dict(w=tensor("3", 10, (2, 3), (3, 1), 4, "HalfStorage"))) == {
        "w": TensorRef(StorageRef("3", "<f2", 10), 4, (2, 3), (3, 1))
    }


def test_plain_values_are_what_pickle_says():
    value = {
        "a": [1, -2, 300, 70_000, 2**70, None, True, False],
        "b": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        5: 1.5,
    }
    assert read(pickle.dumps(value, 2)) == value
    assert read(pickle.dumps([list(range(2000))], 2)) == [list(range(2000))]


def test_a_pickle_is_read_to_its_end_and_no_further():
    stream = BytesIO(pickle.dumps(1, 2) + pickle.dumps("two", 2))
    assert (read_pickle(stream, "it"), read_pickle(stream, "it")) == (1, "two")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Calls(os.system, "touch owned"), rf"'{os.system.__module__}.system'"),
        (Calls(eval, "open('owned', 'w')"), r"'__builtin__.eval'"),
        (Calls(exec, "open('owned', 'w')"), r"'__builtin__.exec'"),
        (Calls(getattr, "", "join"), r"'__builtin__.getattr'"),
        (Calls(open, "owned", "w"), r"'io.open'"),
        (Calls(bytearray, 1 << 40), r"'__builtin__.bytearray'"),
        (os.path.join, r"'posixpath.join'|'ntpath.join'"),
        (SourceError("x"), r"'edgekit.errors.SourceError'"),
        ({1, 2}, r"'__builtin__.set'"),
    ],
)
def test_globals_are_refused_by_name_and_nothing_runs(value, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=rf"refusing ({name}), which no state dict needs: the file may be an attack"):
        read(pickle.dumps({"w": value}, 2))
    assert list(tmp_path.glob("owned")) == []


@pytest.mark.parametrize(
    "name",
    [
        b"torch\nload",
        b"torch._utils\n_rebuild_tensor",
        b"torch._utils\n_rebuild_tensor_v2.__globals__",
        b"torch.storage\n_load_from_bytes",
        b"collections\nOrderedDict.__init__",
        b"collections OrderedDict\n",
        b"numpy.core.multiarray\n_reconstruct",
        b"edgekit.export.sources.pickled_tensors\n_new_dict",
    ],
)
def test_names_next_to_the_allowed_ones_are_refused(name):
    with pytest.raises(SourceError, match=r"refusing '"):
        read(b"\x80\x02c" + name + b"\n.")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"(S'x'\nios\nsystem\n.", "STRING"),
        (b"(ios\nsystem\n.", "INST"),
        (b"(" + ORDERED_DICT + b"o.", "OBJ"),
        (ORDERED_DICT + b")\x81.", "NEWOBJ"),
        (ORDERED_DICT + b")}\x92.", "NEWOBJ_EX"),
        (b"\x8c\x02os\x8c\x06system\x93.", "SHORT_BINUNICODE"),
        (b"\x82\x01.", "EXT1"),
        (b"Pid\n.", "PERSID"),
        (b"]2.", "DUP"),
        (b"\x95" + b"\0" * 8 + b".", "FRAME"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"B\1\0\0\0x.", "BINBYTES"),
        (b"I1\n.", "INT"),
    ],
)
def test_opcodes_that_no_state_dict_needs_are_refused_by_name(data, name):
    with pytest.raises(SourceError, match=rf"refusing the pickle opcode {name}, which no state dict needs"):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02}",
        b".",
        b"0.",
        b"q\x00.",
        b"h\x07.",
        b"t.",
        b"R.",
        b"}R.",
        b"\x85.",
        b"}(K\x01u.",
        b"(u.",
        b")(K\x01K\x02u.",
        b"}]K\x01s.",
        b"})K\x01s.",
        b"]K\x01K\x01s.",
        b"}K\x01a.",
        b"X\xff\xff\xff\xffshort.",
        b"X\1\0\0\0\xff.",
        b"\x8a\xff\1.",
        b"\x8b\xff\xff\xff\x7f\1.",
        b"\x96" + b"\xff" * 8 + b".",
        b"ctorch\nSize\n)R.",
        b"ctorch\nSize\nK\x01R.",
        b"ctorch\nFloatStorage\n)R.",
        ORDERED_DICT + b"](]K\x01aa\x85R.",
        ORDERED_DICT + b"K\x01R.",
        # BUILD on a class, a function and a tensor, which could change them for all later files.
        ORDERED_DICT + b"}" + text("__init__") + b"K\x01sb.",
        b"ctorch._utils\n_rebuild_tensor_v2\n}" + text("__defaults__") + b")sb.",
        b"ctorch\nFloatStorage\nN}" + text("dtype") + b"K\x01s\x86b.",
        b"ctorch._utils\n_rebuild_parameter\n(K\x01\x89)tR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00))\x89NtR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"(" + text("module") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x01tQ.",
        b"(" + text("storage") + b"ctorch\nSize\n" + text("0") + text("cpu") + b"K\x01tQ.",
        b"(" + text("storage") + b"ctorch\nFloatStorage\nK\x00" + text("cpu") + b"K\x01tQ.",
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"\x88tQ.",
        b"(" + text("storage") + b"tQ.",
        b"K\x01Q.",
    ],
)
def test_a_damaged_pickle_is_refused_in_one_line(data):
    with pytest.raises(SourceError, match=r"^model.bin: data.pkl: .*(a damaged one|refusing)") as caught:
        read(data)
    assert len(str(caught.value).splitlines()) == 1


def nested_tuple(depth):
    """A tuple of twice the tuple before, over and over: 2 ** depth leaves in a few bytes, for ever to hash or copy."""
    return b")q\x00" + b"h\x00h\x00\x86q\x000h\x00" * depth


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"}" + nested_tuple(200) + b"K\x01s.", id="a key that takes for ever to hash"),
        pytest.param(b"]" * 100_000 + b"a" * 99_999 + b".", id="deep lists"),
        pytest.param(b")" + b"\x85" * 100_000 + b".", id="deep tuples"),
        pytest.param(b"(" * 200_000 + b".", id="many marks"),
        pytest.param(b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.", id="a memo of four billion places"),
        pytest.param(b"\x8e" + struct.pack("<Q", 1 << 40) + b".", id="a length of a terabyte"),
        pytest.param(
            b"(" + number(1) * 200_000 + b"t" + b"q\x00" + b"ctorch\nSize\nh\x00\x85R" * 20_000 + b".", id="sizes"
        ),
        pytest.param(state_dict(w=tensor(size=(2**2000,), stride=(1,))), id="a size of 2000 bits"),
    ],
)
def test_bombs_cost_neither_time_nor_memory(data):
    tracemalloc.start()
    started = time.monotonic()
    with contextlib.suppress(SourceError):
        read(data)
    seconds, peak = time.monotonic() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 20
    assert peak < 200 << 20


def test_opcodes_are_counted(monkeypatch):
    monkeypatch.setattr(pickled_tensors, "MAX_OPCODES", 100)
    with pytest.raises(SourceError, match=r"at most 100 pickle opcodes, found more"):
        read(b"N" * 100 + b".")
    assert read(b"N" * 99 + b".") is None


def test_storages_are_named_as_torch_names_them():
    import torch

    for name in STORAGES:
        module, attribute = name.split()
        assert module == "torch"
        assert hasattr(torch, attribute)
