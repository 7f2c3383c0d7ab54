"""Files like those of torch.save, from a pickle and storages that may be anything."""

import struct
import zipfile
from io import BytesIO


def archive(pickle: bytes, storages: dict[str, bytes], compression=zipfile.ZIP_STORED, **others: bytes) -> bytes:
    """A zip archive in torch's layout; ``others`` are more entries by name."""
    written = BytesIO()
    with zipfile.ZipFile(written, "w", compression) as file:
        file.writestr("model/data.pkl", pickle)
        for name, data in others.items():
            file.writestr(f"model/{name}", data)
        for key, data in storages.items():
            file.writestr(f"model/data/{key}", data)
    return written.getvalue()


def stream(pickle: bytes, storages: list[tuple[str, int, bytes]]) -> bytes:
    """The format before torch 1.6, from (key, number of elements, bytes) of each storage."""
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    version = b"\x80\x02M\xe9\x03."
    system = b"\x80\x02}" + text("little_endian") + b"\x88s."
    keys = b"\x80\x02](" + b"".join(text(key) for key, _, _ in storages) + b"e."
    data = b"".join(struct.pack("<Q", elements) + stored for _, elements, stored in storages)
    return magic + version + system + pickle + keys + data


def text(value: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """LONG1, of any size up to 255 bytes."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(key="0", elements=6, size=(2, 3), stride=(3, 1), offset=0, kind="FloatStorage", view=b"") -> bytes:
    """The opcodes of one tensor, as torch writes them."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(elements) + view
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQ" + number(offset) + numbers(size) + numbers(stride)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def state_dict(**tensors: bytes) -> bytes:
    """The pickle of a dict of tensors, given as opcodes."""
    items = b"".join(text(name) + opcodes for name, opcodes in tensors.items())
    return b"\x80\x02}(" + items + b"u."
