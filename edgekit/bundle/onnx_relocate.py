"""Tells an ONNX graph where its weights lie when they are part of a larger file.

In: the bytes of a graph whose initialisers name a file, an offset and a length. Out: the same graph with other places.
Only initialisers of the main graph are moved, which is all that edgekit writes; a graph with external data elsewhere is
refused. Everything else is copied byte for byte. onnxruntime can be given such bytes and a folder
(``session.model_external_initializers_file_folder_path``), and then maps the weights as it maps a file of their own:
handed over from Python's memory they are copied, twice the memory of a language model.
"""

from collections.abc import Callable, Iterator

from edgekit.bundle.fields import shown
from edgekit.bundle.onnx_scan import (
    BYTES,
    TENSOR_EXTERNAL_DATA,
    ExternalData,
    FieldWalker,
    read_tensor,
    scan_external_data,
)
from edgekit.bundle.single_file import PackedFile, read_entries
from edgekit.errors import BundleError

# ModelProto.graph, GraphProto.initializer; key and value of a StringStringEntryProto (onnx.proto).
_GRAPH, _INITIALIZER, _KEY, _VALUE = 7, 5, 1, 2

Place = Callable[[ExternalData], ExternalData]


def read_packed_graph(file: PackedFile) -> bytes:
    """Returns a graph of a packed bundle whose weights lie, by its own account, in the packed file.

    Raises:
        BundleError: It can't be read, is no graph, or has weights elsewhere than in a file of the bundle.
    """
    entries = read_entries(file.pack)

    def place(found: ExternalData) -> ExternalData:
        holder = entries.get(found.location)
        length = found.length
        if holder is not None and length is None:
            length = holder.size_bytes - found.offset
        if holder is None or length is None or not 0 <= length <= holder.size_bytes - found.offset:
            raise ValueError(f"expected tensor {shown(found.tensor)} in a file of the bundle, found it outside")
        return ExternalData(found.tensor, file.pack.name, holder.offset + found.offset, length)

    try:
        with file.open("rb") as stream:
            return relocate_external_data(stream.read(), place)
    except OSError as error:
        raise BundleError(f"{file}: expected a readable file, found {error.strerror}; check its permissions") from None
    except UnicodeEncodeError:
        raise BundleError(f"{file.pack}: expected a file's name that is UTF-8, found other bytes; rename it") from None
    except ValueError as error:
        raise BundleError(f"{file}: {error}; do not use this bundle") from None


def relocate_external_data(model: bytes, place: Place) -> bytes:
    """Returns a serialised ``ModelProto`` whose initialisers have their data elsewhere.

    Args:
        model: The graph.
        place: From where data is said to lie to where it does, its length given.

    Raises:
        ValueError: The bytes are not a model, or have external data elsewhere than among the graph's initialisers.
    """
    walker = FieldWalker(model)
    moved = 0

    def tensor(start: int, end: int) -> bytes:
        nonlocal moved
        references = list(read_tensor(walker, start, end))
        if not references:
            return model[start:end]
        moved += 1
        (found,) = references
        kept = b"".join(_without(walker, start, end, TENSOR_EXTERNAL_DATA))
        return kept + _entries(place(found))

    def graph(start: int, end: int) -> bytes:
        return b"".join(_replaced(walker, start, end, _INITIALIZER, tensor))

    relocated = b"".join(_replaced(walker, 0, len(model), _GRAPH, graph))
    if moved != len(scan_external_data(model)):
        raise ValueError("expected external data of the graph's initialisers only, found some elsewhere")
    return relocated


def _replaced(
    walker: FieldWalker, start: int, end: int, number: int, replace: Callable[[int, int], bytes]
) -> Iterator[bytes]:
    """A message with every occurrence of one field that holds bytes replaced."""
    position = start
    for found, wire_type, value, length, after in walker.fields(start, end):
        if found == number and wire_type == BYTES:
            yield _field(number, replace(value, value + length))
        else:
            yield walker.data[position:after]
        position = after


def _without(walker: FieldWalker, start: int, end: int, number: int) -> Iterator[bytes]:
    """A message without one field."""
    position = start
    for found, _, _, _, after in walker.fields(start, end):
        if found != number:
            yield walker.data[position:after]
        position = after


def _entries(place: ExternalData) -> bytes:
    values = {"location": place.location, "offset": str(place.offset), "length": str(place.length)}
    return b"".join(
        _field(TENSOR_EXTERNAL_DATA, _field(_KEY, key.encode()) + _field(_VALUE, value.encode()))
        for key, value in values.items()
    )


def _field(number: int, value: bytes) -> bytes:
    """A field of bytes: tag, length, value (https://protobuf.dev/programming-guides/encoding/)."""
    return bytes([number << 3 | BYTES]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
