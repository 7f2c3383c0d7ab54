"""Writes a bundle whole or not at all.

In: a target path, and the files that the caller puts into a temporary directory beside it. Out: the finished bundle at
the target, its files hashed into the manifest, on the disk before it gets its name. The same files and manifest give
the same bytes.

It refuses a target that exists, unless told to replace it; and even then whatever is not an edgekit bundle or holds
anything that the bundle's manifest does not list. A run that is killed leaves a directory ``.NAME.tmp-XXXX``, which the
next run for the same target removes; a lock that dies with its process tells it from the directory of a run that works.
"""

import contextlib
import dataclasses
import errno
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from edgekit.bundle.fields import MAX_JSON_BYTES
from edgekit.bundle.files import FILE_MANAGER_NAMES, MANIFEST_NAME, hash_file, sync_file
from edgekit.bundle.locks import DirectoryLock
from edgekit.bundle.manifest import FileRecord, Manifest
from edgekit.bundle.read import check_graphs
from edgekit.errors import OutputError

# Where locks cannot tell, a directory without a new file for this long is taken for a killed run's.
_ABANDONED_AFTER_S = 86_400.0
# Errors of a write that name no file.
_DISK_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EFBIG, *({errno.EDQUOT} if hasattr(errno, "EDQUOT") else ())}
# safetensors and tokenizers are written in Rust: their exceptions tell the number in the text alone.
_RUST_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def write_manifest(directory: Path, manifest: Manifest) -> Manifest:
    """Hashes every file of a directory and writes its ``bundle.json``, last.

    Args:
        directory: The staged bundle, with all its files in it.
        manifest: All but ``files``, which is replaced.

    Returns:
        The manifest as written.

    Raises:
        BundleError: The manifest and the files do not make a bundle that could be opened.
        OSError: A file cannot be read or written.
    """
    names = sorted(entry.name for entry in os.scandir(directory) if entry.name != MANIFEST_NAME)
    files = {name: FileRecord(*hash_file(directory / name)) for name in names}
    text = dataclasses.replace(manifest, files=files).to_json()
    # Read back, so that nothing can be written which could not be opened.
    written = Manifest.from_json(text, str(directory / MANIFEST_NAME))
    check_graphs(directory, written)
    (directory / MANIFEST_NAME).write_bytes(text.encode())
    return written


@contextlib.contextmanager
def stage_bundle(target: Path, force: bool = False) -> Iterator[Path]:
    """Gives a temporary directory that becomes the bundle at ``target`` when the block ends without an exception.

    The block puts files into it and calls `write_manifest` last. Whatever exception leaves the block, nothing is left.

    Args:
        target: Where the bundle goes; missing parents are made.
        force: Replace a bundle that is there already. On a crash between the two renames that this takes, the next run
            for the same target puts the old one back.

    Yields:
        The directory to fill, beside the target.

    Raises:
        OutputError: The target exists and may not be replaced, or cannot be written: permissions, a full disk.
    """
    target = _absolute(target)
    made = _make_parents(target.parent)
    lock: DirectoryLock | None = None
    try:
        with _as_output_errors(target):
            _clear_leftovers(target)
            _check_target(target, force)
            lock = _make_staging(target)
            yield lock.path
            _commit(lock.path, target, force)
            made = []
    finally:
        if lock is not None:
            shutil.rmtree(lock.path, ignore_errors=True)
            lock.release()
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


def check_target(target: Path, force: bool = False) -> None:
    """Refuses a target that `stage_bundle` would refuse because of what is there, before any work; changes nothing.

    Args:
        target: Where the bundle goes.
        force: Replace a bundle that is there already.

    Raises:
        OutputError: The target exists and may not be replaced.
    """
    target = _absolute(target)
    with _as_output_errors(target):
        _check_target(target, force)


def _absolute(target: Path) -> Path:
    absolute = Path(os.path.abspath(target))
    if "\0" in str(target) or not absolute.name:
        raise OutputError(f"{str(target)!a}: expected the path of a new directory; choose another one")
    return absolute


def _make_parents(parent: Path) -> list[Path]:
    """Makes missing parents; returns those made, the innermost first."""
    missing = [path for path in (parent, *parent.parents) if not os.path.lexists(path)]
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{parent}: cannot make this directory: {error.strerror}; choose another output") from None
    return missing


@contextlib.contextmanager
def _as_output_errors(target: Path) -> Iterator[None]:
    """Turns an `OSError` of writing below the target's parent into one line; those of reading elsewhere pass."""
    try:
        yield
    except OSError as error:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        if error.errno in _DISK_ERRORS or any(_is_ours(Path(name), target) for name in names):
            raise OutputError(f"{target}: cannot write the bundle: {error.strerror}; nothing was written") from error
        raise
    except Exception as error:
        code = _RUST_OS_ERROR.search(str(error))
        if code and int(code[1]) in _DISK_ERRORS:
            reason = os.strerror(int(code[1]))
            raise OutputError(f"{target}: cannot write the bundle: {reason}; nothing was written") from error
        raise


def _is_ours(path: Path, target: Path) -> bool:
    """Returns whether a path is the target, or in its staging directory."""
    prefixes = (f"{target}{os.sep}", str(target.parent / f".{target.name}."))
    return path in (target, target.parent) or str(path).startswith(prefixes)


def _make_staging(target: Path) -> DirectoryLock:
    """Makes and locks a directory of the permissions that a plain mkdir gives."""
    while True:
        path = target.parent / f".{target.name}.tmp-{os.urandom(8).hex()}"
        path.mkdir()
        lock = DirectoryLock.acquire(path)
        if lock is not None:
            return lock
        # Another run took it for a leftover before it was locked: it removes it, this one takes another name.


def _clear_leftovers(target: Path) -> None:
    """Removes what killed runs for the same target left; an old bundle that was moved aside last comes back."""
    for entry in sorted(target.parent.iterdir()):
        old = entry.name.startswith(f".{target.name}.old-")
        if not old and not entry.name.startswith(f".{target.name}.tmp-"):
            continue
        lock = DirectoryLock.acquire(entry)
        if lock is None or not (lock.is_enforced or entry.stat().st_mtime < time.time() - _ABANDONED_AFTER_S):
            continue
        if old and not os.path.lexists(target):
            os.rename(entry, target)
        else:
            shutil.rmtree(entry, ignore_errors=True)
        lock.release()


def _check_target(target: Path, force: bool) -> None:
    if not os.path.lexists(target):
        return
    if not force:
        raise OutputError(f"{target}: exists already; choose another output or replace it with --force")
    if reason := _irreplaceable(target):
        raise OutputError(f"{target}: not replaced, because {reason}; choose another output or remove it yourself")


def _irreplaceable(target: Path) -> str | None:
    """Returns why a target must not be replaced, or None for an edgekit bundle with nothing else in it."""
    if not stat.S_ISDIR(os.lstat(target).st_mode):
        return "it is not a directory"
    names = {entry.name for entry in os.scandir(target)} - FILE_MANAGER_NAMES
    if not names:
        return None
    try:
        with open(target / MANIFEST_NAME, "rb") as file:
            manifest = json.loads(file.read(MAX_JSON_BYTES))
        # Only this much, so that a bundle of another schema version, or a damaged one, can be replaced.
        listed = set(manifest["files"]) if isinstance(manifest["schema_version"], int) else None
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        listed = None
    if listed is None:
        return "it is not an edgekit bundle"
    foreign = sorted(names - listed - {MANIFEST_NAME})
    return f"it holds {foreign[0]!a}, which is no part of the bundle" if foreign else None


def _commit(staging: Path, target: Path, force: bool) -> None:
    """Puts the staged files on the disk and gives them the target's name."""
    names = [entry.name for entry in os.scandir(staging)]
    assert MANIFEST_NAME in names, "write_manifest has not been called"
    for name in names:
        sync_file(staging / name)
    sync_file(staging)
    _check_target(target, force)
    if os.path.lexists(target):
        _replace(staging, target)
    else:
        _rename(staging, target)
    sync_file(target.parent)


def _rename(staging: Path, target: Path) -> None:
    try:
        os.rename(staging, target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):  # another run was faster
            raise OutputError(f"{target}: exists already; choose another output or replace it with --force") from None
        raise


def _replace(staging: Path, target: Path) -> None:
    lock = DirectoryLock.acquire(target)
    if lock is None:
        raise OutputError(f"{target}: another run is replacing it at this moment; try again")
    aside = target.parent / f".{target.name}.old-{os.urandom(8).hex()}"
    try:
        os.rename(target, aside)
        try:
            _rename(staging, target)
        except BaseException:
            if not os.path.lexists(target):
                os.rename(aside, target)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)  # nothing there if it was put back
    finally:
        lock.release()
