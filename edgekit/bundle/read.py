"""Opens a bundle without trusting it.

In: the path of a directory. Out: a `Bundle` whose manifest is consistent and whose files are all there. On every load
the schema version, the kind of each file and its size are checked; on the first load of what lies there also each
SHA-256, and that the graphs refer to nothing but files of the bundle (`edgekit.bundle.verified` remembers that).
`verify_bundle` hashes always and says what it found of each file.

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
from edgekit.bundle.files import FILE_MANAGER_NAMES, MANIFEST_NAME, hash_file, resolve_file
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.onnx_scan import check_external_data
from edgekit.bundle.verified import fingerprint, is_verified, remember_verified
from edgekit.errors import BundleError, ModelNotFoundError


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its resolved directory and its manifest."""

    path: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """Returns the path of a file that the manifest lists.

        Raises:
            BundleError: The manifest does not list it, or it has gone or been replaced by a link since.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.path}: expected a file that the manifest lists, found {name!r}")
        return resolve_file(self.path, name)[0]

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
        path: The bundle's directory.

    Raises:
        ModelNotFoundError: There is nothing at the path.
        BundleError: It is not a bundle, of another schema version, damaged or hostile.
    """
    directory, manifest, manifest_sha256 = _read_manifest(path)
    statuses = _check_sizes(directory, manifest)
    found = fingerprint(manifest_sha256, statuses)
    if not is_verified(directory, found):
        for name in manifest.files:
            _check_hash(directory, manifest, name)
        check_graphs(directory, manifest)
        if fingerprint(manifest_sha256, _check_sizes(directory, manifest)) == found:
            remember_verified(directory, found, statuses)
    return Bundle(directory, manifest)


def verify_bundle(path: str | os.PathLike[str]) -> list[FileCheck]:
    """Hashes every file of a bundle.

    Args:
        path: The bundle's directory.

    Returns:
        One entry for each file that the manifest lists, in order of name, then one for each other entry of the
        directory; the latter are findings too, but for what file managers leave.

    Raises:
        ModelNotFoundError: There is nothing at the path.
        BundleError: It has no usable manifest.
    """
    directory, manifest, _ = _read_manifest(path)
    checks = [_check_listed(directory, manifest, name) for name in sorted(manifest.files)]
    try:
        extra = sorted(set(os.listdir(directory)) - set(manifest.files) - {MANIFEST_NAME} - FILE_MANAGER_NAMES)
        for name in extra:
            finding = f"{directory / name}: expected only files that the manifest lists; delete it"
            checks.append(FileCheck(name, False, (directory / name).lstat().st_size, finding))
    except OSError as error:
        raise BundleError(f"{directory}: expected a readable directory, found {error.strerror}") from None
    return checks


def check_graphs(directory: Path, manifest: Manifest) -> None:
    """Checks that the graphs of a bundle refer to nothing but files of the bundle.

    Raises:
        BundleError: One of them refers to something else.
    """
    for graph in manifest.graphs.values():
        check_external_data(directory / graph.file, _sizes(manifest))


def _sizes(manifest: Manifest) -> dict[str, int]:
    return {name: record.size_bytes for name, record in manifest.files.items()}


def _read_manifest(path: str | os.PathLike[str]) -> tuple[Path, Manifest, str]:
    """Returns the resolved directory, its manifest and the manifest's SHA-256."""
    try:
        directory = Path(path).resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(f"{os.fspath(path)}: expected a bundle, found nothing; check the path") from None
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the path; a loop of links
        raise ModelNotFoundError(f"{os.fspath(path)!a}: expected the path of a bundle, found {error}") from None
    if not os.path.lexists(directory / MANIFEST_NAME):
        raise BundleError(
            f"{path}: expected a bundle, a directory with {MANIFEST_NAME}, found none; make one with `edgekit export`"
        )
    manifest_path, _ = resolve_file(directory, MANIFEST_NAME)
    try:
        with open(manifest_path, "rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise BundleError(f"{manifest_path}: expected a readable file, found {error.strerror}") from None
    except UnicodeDecodeError:
        raise BundleError(f"{manifest_path}: expected UTF-8, found other bytes; export the model again") from None
    return directory, Manifest.from_json(text, str(manifest_path)), hashlib.sha256(data).hexdigest()


def _check_sizes(directory: Path, manifest: Manifest) -> dict[str, os.stat_result]:
    """Returns the status of every listed file, each of the right size."""
    return {name: _check_size(directory, manifest, name)[1] for name in manifest.files}


def _check_size(directory: Path, manifest: Manifest, name: str) -> tuple[Path, os.stat_result]:
    path, status = resolve_file(directory, name)
    expected = manifest.files[name].size_bytes
    if status.st_size != expected:
        raise BundleError(f"{path}: expected {expected} bytes, found {status.st_size}; export the model again")
    return path, status


def _check_hash(directory: Path, manifest: Manifest, name: str) -> None:
    path, _ = _check_size(directory, manifest, name)
    expected = manifest.files[name].sha256
    try:
        _, sha256 = hash_file(path)
    except OSError as error:
        raise BundleError(f"{path}: expected a readable file, found {error.strerror}; check its permissions") from None
    if sha256 != expected:
        raise BundleError(
            f"{path}: expected SHA-256 {expected}, found {sha256}: the file is damaged or changed; "
            "export the model again"
        )


def _check_listed(directory: Path, manifest: Manifest, name: str) -> FileCheck:
    size_bytes = 0
    try:
        size_bytes = resolve_file(directory, name)[1].st_size
        _check_hash(directory, manifest, name)
        if any(graph.file == name for graph in manifest.graphs.values()):
            check_external_data(directory / name, _sizes(manifest))
    except BundleError as error:
        return FileCheck(name, False, size_bytes, str(error))
    return FileCheck(name, True, size_bytes, None)
