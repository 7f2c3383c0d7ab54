"""Opens a bundle without trusting it.

In: the path of a directory, or of a file that `edgekit pack` wrote. Out: a `Bundle` whose manifest is consistent and
whose files are all there. On every load the schema version, the kind of each file and its size are checked; on the
first load of what lies there also each SHA-256, and that the graphs refer to nothing but files of the bundle
(`edgekit.bundle.verified` remembers that). `verify_bundle` hashes always and says what it found of each file.

It refuses links out of the directory and anything that is not a regular file. Files that the manifest does not list
are not opened, so they do no harm on a load; `verify_bundle` reports them. Someone who can change the directory while
it is being loaded is not guarded against.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgekit.bundle.fields import MAX_JSON_BYTES
from edgekit.bundle.files import MANIFEST_NAME, hash_file
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.onnx_scan import check_external_data
from edgekit.bundle.single_file import PackedFile
from edgekit.bundle.storage import Storage, open_storage
from edgekit.bundle.verified import fingerprint, is_verified, remember_verified
from edgekit.errors import BundleError, ModelNotFoundError


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its resolved path, its manifest, where its files are, and the fingerprint of what lies there.

    The fingerprint is `edgekit.bundle.verified.fingerprint`'s.
    """

    path: Path
    manifest: Manifest
    storage: Storage
    fingerprint: str

    def file(self, name: str) -> Path | PackedFile:
        """Returns a file that the manifest lists, to be read by ``.open("rb")``.

        Raises:
            BundleError: The manifest does not list it, or it has gone or been replaced by a link since.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.path}: expected a file that the manifest lists, found {name!r}")
        return self.storage.file(name)

    def path_of(self, name: str) -> Path:
        """Returns the path of a file, for what can't read it within a packed bundle.

        Raises:
            BundleError: As `file`; or the bundle is packed.
        """
        file = self.file(name)
        if isinstance(file, PackedFile):
            raise BundleError(f"{self.path}: expected a directory, found a packed bundle; `edgekit unpack` makes one")
        return file

    @property
    def size_bytes(self) -> int:
        """The sum of the sizes of all listed files, in bytes."""
        return sum(record.size_bytes for record in self.manifest.files.values())


class FileCheck(NamedTuple):
    """What `verify_bundle` found of one file; ``finding`` is None when it is as it should be."""

    name: str
    ok: bool
    size_bytes: int
    finding: str | None


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Opens a bundle, hashing its files unless exactly these files were hashed before.

    Args:
        path: The bundle's directory, or a packed bundle.

    Raises:
        ModelNotFoundError: There is nothing at the path.
        BundleError: It is not a bundle, of another schema version, damaged or hostile.
    """
    storage, manifest, manifest_sha256 = _read_manifest(path)
    statuses = _check_sizes(storage, manifest)
    found = fingerprint(manifest_sha256, statuses)
    if not is_verified(storage.path, found):
        for name in manifest.files:
            _check_hash(storage, manifest, name)
        _check_graphs(storage, manifest)
        if fingerprint(manifest_sha256, _check_sizes(storage, manifest)) == found:
            remember_verified(storage.path, found, statuses)
    return Bundle(storage.path, manifest, storage, found)


def verify_bundle(path: str | os.PathLike[str]) -> list[FileCheck]:
    """Hashes every file of a bundle.

    Args:
        path: The bundle's directory, or a packed bundle.

    Returns:
        One entry for each file that the manifest lists, in order of name, then one for each other entry; the latter are
        findings too, but for what file managers leave in a directory.

    Raises:
        ModelNotFoundError: There is nothing at the path.
        BundleError: It has no usable manifest.
    """
    storage, manifest, _ = _read_manifest(path)
    checks = [_check_listed(storage, manifest, name) for name in sorted(manifest.files)]
    for name, size_bytes in storage.unlisted(manifest.files):
        finding = f"{storage.path / name}: expected only files that the manifest lists; delete it"
        checks.append(FileCheck(name, False, size_bytes, finding))
    return checks


def check_graphs(directory: Path, manifest: Manifest) -> None:
    """Checks that the graphs of a bundle's directory refer to nothing but files of the bundle.

    Raises:
        BundleError: One of them refers to something else.
    """
    for graph in manifest.graphs.values():
        check_external_data(directory / graph.file, _sizes(manifest))


def _check_graphs(storage: Storage, manifest: Manifest) -> None:
    for graph in manifest.graphs.values():
        check_external_data(storage.file(graph.file), _sizes(manifest))


def _sizes(manifest: Manifest) -> dict[str, int]:
    return {name: record.size_bytes for name, record in manifest.files.items()}


def _read_manifest(path: str | os.PathLike[str]) -> tuple[Storage, Manifest, str]:
    """Returns where the bundle's files are, its manifest and the manifest's SHA-256."""
    try:
        resolved = Path(path).resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(f"{os.fspath(path)}: expected a bundle, found nothing; check the path") from None
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the path; a loop of links
        raise ModelNotFoundError(f"{os.fspath(path)!a}: expected the path of a bundle, found {error}") from None
    storage = open_storage(resolved)
    manifest_path = storage.file(MANIFEST_NAME)
    try:
        with manifest_path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise BundleError(f"{manifest_path}: expected a readable file, found {error.strerror}") from None
    except UnicodeDecodeError:
        raise BundleError(f"{manifest_path}: expected UTF-8, found other bytes; export the model again") from None
    return storage, Manifest.from_json(text, str(manifest_path)), hashlib.sha256(data).hexdigest()


def _check_sizes(storage: Storage, manifest: Manifest) -> dict[str, os.stat_result]:
    """Returns the status of every listed file, each of the right size."""
    return {name: _check_size(storage, manifest, name) for name in manifest.files}


def _check_size(storage: Storage, manifest: Manifest, name: str) -> os.stat_result:
    size_bytes, status = storage.status(name)
    expected = manifest.files[name].size_bytes
    if size_bytes != expected:
        raise BundleError(
            f"{storage.file(name)}: expected {expected} bytes, found {size_bytes}; export the model again"
        )
    return status


def _check_hash(storage: Storage, manifest: Manifest, name: str) -> None:
    _check_size(storage, manifest, name)
    file = storage.file(name)
    expected = manifest.files[name].sha256
    try:
        _, sha256 = hash_file(file)
    except OSError as error:
        raise BundleError(f"{file}: expected a readable file, found {error.strerror}; check its permissions") from None
    if sha256 != expected:
        raise BundleError(
            f"{file}: expected SHA-256 {expected}, found {sha256}: the file is damaged or changed; "
            "export the model again"
        )


def _check_listed(storage: Storage, manifest: Manifest, name: str) -> FileCheck:
    size_bytes = 0
    try:
        size_bytes = storage.status(name)[0]
        _check_hash(storage, manifest, name)
        if any(graph.file == name for graph in manifest.graphs.values()):
            check_external_data(storage.file(name), _sizes(manifest))
    except BundleError as error:
        return FileCheck(name, False, size_bytes, str(error))
    return FileCheck(name, True, size_bytes, None)
