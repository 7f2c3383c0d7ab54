"""Finds every reference from an ONNX file to another file, before onnxruntime sees the graph.

In: the bytes of an ``.onnx`` file that may come from a stranger. Out: the location, offset and length of all external
data: of initialisers in the main graph, in subgraphs, in functions and in training graphs, dense or sparse, and of
tensors in attributes. It walks the protobuf wire format (https://protobuf.dev/programming-guides/encoding/) with the
field numbers of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3), keeps nothing else and allocates
in proportion to the references found. The ``onnx`` package would do, but the embedded runtime must not need it.

It refuses what two readers could understand differently: a field that may stand once standing twice (protobuf merges
or overwrites), groups, unknown keys of external data, numbers that are not plain decimals.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from edgekit.bundle.fields import shown
from edgekit.bundle.single_file import PackedFile
from edgekit.errors import BundleError

# protobuf's own readers stop at 100 nested messages.
_MAX_DEPTH = 100
# A graph of 1000 nodes has 30,000 fields; this many take 1 s and 200 MB, so a hostile file cannot make it hang.
_MAX_FIELDS = 1_000_000
_DECIMAL = re.compile(rb"[0-9]{1,18}")
# onnxruntime takes a file with these bytes at offset 4 for its own format, whatever the name says.
_ORT_IDENTIFIER = b"ORTM"

_TENSOR = "TensorProto"
# Message -> {field number: (message, whether it repeats)}, only for fields that lead to a TensorProto.
_FIELDS: dict[str, dict[int, tuple[str, bool]]] = {
    "ModelProto": {7: ("GraphProto", False), 20: ("TrainingInfoProto", True), 25: ("FunctionProto", True)},
    "TrainingInfoProto": {1: ("GraphProto", False), 2: ("GraphProto", False)},
    "GraphProto": {1: ("NodeProto", True), 5: (_TENSOR, True), 15: ("SparseTensorProto", True)},
    "FunctionProto": {7: ("NodeProto", True), 11: ("AttributeProto", True)},
    "NodeProto": {5: ("AttributeProto", True)},
    "AttributeProto": {
        5: (_TENSOR, False),
        6: ("GraphProto", False),
        10: (_TENSOR, True),
        11: ("GraphProto", True),
        22: ("SparseTensorProto", False),
        23: ("SparseTensorProto", True),
    },
    "SparseTensorProto": {1: (_TENSOR, False), 2: (_TENSOR, False)},
}
_TENSOR_NAME, TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 8, 13, 14
_VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5


class ExternalData(NamedTuple):
    """One tensor's reference to a file: the tensor's name, and offset and length in bytes (None: to its end)."""

    tensor: str
    location: str
    offset: int
    length: int | None


def scan_external_data(data: bytes) -> list[ExternalData]:
    """Returns every external-data reference in a serialised ``ModelProto``.

    Raises:
        ValueError: The bytes are not a model, are truncated or nested too deeply, or refer to data ambiguously.
    """
    if data[4:8] == _ORT_IDENTIFIER:
        raise ValueError("expected an ONNX model, found onnxruntime's own format")
    walker = FieldWalker(data)
    references: list[ExternalData] = []
    has_graph = False
    pending = [("ModelProto", 0, len(data), 1)]
    while pending:
        message, start, end, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"expected messages nested at most {_MAX_DEPTH} deep")
        if message == _TENSOR:
            references.extend(read_tensor(walker, start, end))
            continue
        children = _FIELDS[message]
        single: set[int] = set()
        for number, wire_type, value, length, _ in walker.fields(start, end):
            if number not in children or wire_type != BYTES:
                continue
            child, repeats = children[number]
            if not repeats and number in single:
                raise ValueError(f"expected field {number} of {message} once, found it twice")
            single.add(number)
            pending.append((child, value, value + length, depth + 1))
        has_graph = has_graph or (message == "ModelProto" and 7 in single)
    if not has_graph:
        raise ValueError("expected an ONNX model, found no graph")
    return references


def check_external_data(path: Path | PackedFile, size_bytes: Mapping[str, int]) -> None:
    """Checks that all external data of an ONNX file lies within files of its bundle.

    Args:
        path: The ``.onnx`` file.
        size_bytes: The size of each file that the bundle's manifest lists, by name.

    Raises:
        BundleError: The file cannot be read or is not an ONNX model; or a tensor's location is not a listed file, or
            its offset and length reach beyond that file.
    """
    try:
        with path.open("rb") as file:
            references = scan_external_data(file.read())
    except OSError as error:
        raise BundleError(f"{path}: expected an ONNX graph, found {error.strerror}; export the model again") from None
    except ValueError as error:
        raise BundleError(f"{path}: {error}; export the model again") from None
    for tensor, location, offset, length in references:
        if location not in size_bytes or location == path.name:
            raise BundleError(
                f"{path}: expected tensor {shown(tensor)} in a file of the bundle, found location {shown(location)}; "
                "do not use this bundle"
            )
        if offset + (length or 0) > size_bytes[location]:
            raise BundleError(
                f"{path}: expected tensor {shown(tensor)} within the {size_bytes[location]} bytes of {location}, "
                f"found offset {offset} and length {length}; export the model again"
            )


class FieldWalker:
    """Yields the fields of protobuf messages within one buffer, and counts them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._fields_left = _MAX_FIELDS

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Yields (field number, wire type, value, length, end) of each field of a message in ``data[start:end]``.

        For wire type 2 the value is where the field's bytes start; for 0 it is the number; else 0. The next field
        starts where this one ends.
        """
        data = self.data
        position = start
        while position < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ValueError(f"expected at most {_MAX_FIELDS} fields")
            tag = data[position]
            position += 1
            if tag >= 0x80:
                tag, position = self._varint(position - 1, end, 5)
            wire_type = tag & 7
            value, length = 0, 0
            if wire_type == BYTES:
                length, value = self._varint(position, end, 5)
                position = value + length
            elif wire_type == _VARINT:
                value, position = self._varint(position, end, 10)
            elif wire_type in (_FIXED64, _FIXED32):
                position += 8 if wire_type == _FIXED64 else 4
            else:
                raise ValueError(f"expected an ONNX model, found protobuf wire type {wire_type} at byte {position - 1}")
            if tag >> 3 == 0 or position > end:
                raise ValueError(f"expected an ONNX model, found a broken or truncated field before byte {position}")
            yield tag >> 3, wire_type, value, length, position

    def _varint(self, position: int, end: int, max_bytes: int) -> tuple[int, int]:
        """Returns the number at a position and the position after it."""
        value = 0
        for index, byte in enumerate(self.data[position : min(position + max_bytes, end)]):
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value, position + index + 1
        raise ValueError(f"expected an ONNX model, found a truncated number at byte {position}")


def read_tensor(walker: FieldWalker, start: int, end: int) -> Iterator[ExternalData]:
    """Yields a tensor's reference, if it has one; its own values are passed over."""
    name = ""
    external = False
    entries: dict[bytes, bytes] = {}
    for number, wire_type, value, length, _ in walker.fields(start, end):
        if number == _TENSOR_NAME and wire_type == BYTES:
            name = walker.data[value : value + min(length, 200)].decode("utf-8", "replace")
        elif number == _TENSOR_DATA_LOCATION:
            external = external or value != 0
        elif number == TENSOR_EXTERNAL_DATA and wire_type == BYTES:
            external = True
            key, text = _read_entry(walker, value, value + length)
            if key in entries or key not in (b"location", b"offset", b"length", b"checksum"):
                raise ValueError(f"expected location, offset and length once, found external data key {shown(key)}")
            entries[key] = text
    if external:
        yield _reference(name, entries)


def _read_entry(walker: FieldWalker, start: int, end: int) -> tuple[bytes, bytes]:
    """Returns key and value of a ``StringStringEntryProto``."""
    texts: dict[int, bytes] = {}
    for number, wire_type, value, length, _ in walker.fields(start, end):
        if number not in (1, 2) or wire_type != BYTES or number in texts or length > 4096:
            raise ValueError("expected a key and a value in external data, found something else")
        texts[number] = walker.data[value : value + length]
    return texts.get(1, b""), texts.get(2, b"")


def _reference(name: str, entries: Mapping[bytes, bytes]) -> ExternalData:
    try:
        location = entries.get(b"location", b"").decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"expected a file name for tensor {shown(name)}, found bytes that are not UTF-8") from None
    if not location:
        raise ValueError(f"expected a location for the external data of tensor {shown(name)}, found none")
    numbers: dict[bytes, int] = {}
    for key in (b"offset", b"length"):
        if key in entries:
            if not _DECIMAL.fullmatch(entries[key]):
                raise ValueError(
                    f"expected a whole number as {key.decode()} of tensor {shown(name)}, found {shown(entries[key])}"
                )
            numbers[key] = int(entries[key])
    return ExternalData(name, location, numbers.get(b"offset", 0), numbers.get(b"length"))
