"""Packs a bundle's directory into one file, and unpacks it.

In: a bundle, checked in full. Out: a file of the form that `edgekit.bundle.single_file` reads, with the bundle's files
as they are, so their hashes stay. The same bundle gives the same bytes. Written whole or not at all.

Refused: a target that exists, unless told to replace it; a bundle of more than 2 GB.
"""

import contextlib
import os
import shutil
import zipfile
from pathlib import Path

from edgekit.bundle.files import MANIFEST_NAME, sync_file
from edgekit.bundle.onnx_relocate import read_packed_graph
from edgekit.bundle.read import Bundle, open_bundle, verify_bundle
from edgekit.bundle.single_file import ALIGNMENT, LOCAL_HEADER_BYTES, MAX_ENTRIES, MAX_SIZE_BYTES
from edgekit.bundle.storage import PackedStorage
from edgekit.bundle.write import stage_bundle
from edgekit.errors import BundleError, OutputError

# The kind of extra field that Android's zipalign fills up with; two bytes of length follow.
_FILLING = b"\x35\xd9"
_UNIX, _MODE = 3, 0o644 << 16


def pack_bundle(source: str | os.PathLike[str], target: str | os.PathLike[str], force: bool = False) -> Path:
    """Writes a bundle as one file.

    Args:
        source: A bundle: a directory, or a packed one, which is copied.
        target: The file to write, by custom ``NAME.edgekit``.
        force: Replace a file that is there already.

    Returns:
        The file.

    Raises:
        ModelNotFoundError: There is no such bundle.
        BundleError: It is damaged, or has more than 2 GB.
        OutputError: The target exists, or can't be written.
    """
    bundle = _whole(source)
    path = Path(os.path.abspath(target))
    if os.path.lexists(path) and not (force and path.is_file()):
        replaced = "choose another output" if force else "choose another output or replace it with --force"
        raise OutputError(f"{path}: exists already; {replaced}")
    if bundle.size_bytes > MAX_SIZE_BYTES - MAX_ENTRIES * 2 * ALIGNMENT:
        raise BundleError(
            f"{bundle.path}: expected at most 2 GB, which one file can hold, found {bundle.size_bytes} bytes; "
            "use the directory as it is"
        )
    partial = path.with_name(f".{path.name}.tmp-{os.urandom(8).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(bundle, partial)
        packed = PackedStorage(partial)
        for graph in bundle.manifest.graphs.values():
            read_packed_graph(packed.file(graph.file))
        sync_file(partial)
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot write the bundle: {error.strerror}; nothing was written") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return path


def unpack_bundle(source: str | os.PathLike[str], target: str | os.PathLike[str], force: bool = False) -> Path:
    """Writes a bundle, packed or not, as a directory; arguments and errors as `pack_bundle`'s."""
    bundle = _whole(source)
    path = Path(target)
    with stage_bundle(path, force=force) as directory:
        for name in (MANIFEST_NAME, *bundle.manifest.files):
            with bundle.storage.file(name).open("rb") as file, open(directory / name, "wb") as copy:
                shutil.copyfileobj(file, copy)
    return path


def _whole(source: str | os.PathLike[str]) -> Bundle:
    """The bundle, after every hash was compared."""
    bundle = open_bundle(source)
    wrong = [check.finding for check in verify_bundle(source) if not check.ok]
    if wrong:
        raise BundleError(str(wrong[0]))
    return bundle


def _write(bundle: Bundle, target: Path) -> None:
    end = 0
    with zipfile.ZipFile(target, "x", zipfile.ZIP_STORED) as archive:
        for name in (MANIFEST_NAME, *sorted(bundle.manifest.files)):
            entry = zipfile.ZipInfo(name)  # of 1980, whenever the file is of
            entry.create_system, entry.external_attr = _UNIX, _MODE
            start = end + LOCAL_HEADER_BYTES + len(name) + len(_FILLING) + 2
            filling = -start % ALIGNMENT
            entry.extra = _FILLING + filling.to_bytes(2, "little") + bytes(filling)
            with bundle.storage.file(name).open("rb") as source, archive.open(entry, "w") as written:
                shutil.copyfileobj(source, written)
            entry.extra = b""  # the directory at the end has no use for it
            end = start + filling + entry.file_size
