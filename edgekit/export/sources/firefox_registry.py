"""Fetches a Firefox Translations model from Mozilla's model registry into edgekit's cache.

In: a pair such as ``en-fr``. Out: a `Checkpoint` of kind ``bergamot``. The registry is a JSON file that lists, for each
pair, models of several architectures and release states; `choose_entry` says which one is taken. Files are fetched
gzipped, unpacked within a bound, and checked against the SHA-256 and size that the registry gives. What was fetched
before serves when the registry can't be reached.

The registry's form is that of https://mozilla.github.io/translations/model-registry (mozilla/translations).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from filelock import FileLock

from edgekit.bundle.files import file_name_problem, hash_file
from edgekit.cache import cache_dir, source_dir
from edgekit.errors import SourceError
from edgekit.export.sources.checkpoint import Checkpoint, Progress, UnavailableSourceError, no_progress
from edgekit.export.sources.download import download, read_url
from edgekit.export.sources.gzip_file import is_gzip, unpack_gzip
from edgekit.export.sources.local_directory import read_pinned_files

__all__ = ["RegistryEntry", "RegistryFile", "choose_entry", "fetch_pair", "is_cached"]

REGISTRY_URL = "https://storage.googleapis.com/moz-fx-translations-data--303e-prod-translations-data/db/models.json"
MAX_REGISTRY_BYTES = 64 * 2**20
MAX_FILE_BYTES = 512 * 2**20
ENTRY_NAME = "registry-entry.json"

# What desktop Firefox gets is "Release"; "Release Android" and the like are for one platform; the rest is in trial.
BEST_STATUS = "Release"
# base-memory, 31 M parameters, is the better of those released; tiny has half of that; base is the slowest on a CPU.
ARCHITECTURES = ("base-memory", "tiny", "base")
ROLES = {
    "model": "weights",
    "lexicalShortlist": "shortlist",
    "vocab": "vocab",
    "srcVocab": "source_spm",
    "trgVocab": "target_spm",
}


@dataclass(frozen=True)
class RegistryFile:
    """A file that the registry lists.

    Attributes:
        path: Below the registry's base address; gzipped if it ends in ``.gz``.
        sha256: Digest of the unpacked content, where the registry gives one.
        size_bytes: Size of the unpacked content, where the registry gives one.
    """

    path: str
    sha256: str | None
    size_bytes: int | None

    @property
    def name(self) -> str:
        """The unpacked file's name."""
        return self.path.rpartition("/")[2].removesuffix(".gz")


@dataclass(frozen=True)
class RegistryEntry:
    """One model of a pair.

    Attributes:
        architecture: ``tiny``, ``base`` or ``base-memory``.
        status: ``Release``, ``Release Android``, ``Nightly`` ...
        source_language: Code as the registry writes it.
        target_language: Code as the registry writes it.
        files: By `Checkpoint` role, or ``vocab`` for a shared vocabulary.
    """

    architecture: str
    status: str
    source_language: str
    target_language: str
    files: Mapping[str, RegistryFile]

    @property
    def revision(self) -> str:
        """The directory of the model's file, which names the training run."""
        return self.files["weights"].path.rpartition("/")[0]


def choose_entry(entries: Sequence[RegistryEntry]) -> RegistryEntry:
    """The model to take: released for all, else for one platform, else in trial; then base-memory, tiny, base.

    Among equals the registry's first.
    """

    def rank(entry: RegistryEntry) -> tuple[int, int]:
        status = 0 if entry.status == BEST_STATUS else 1 if entry.status.startswith(BEST_STATUS) else 2
        known = entry.architecture in ARCHITECTURES
        return status, ARCHITECTURES.index(entry.architecture) if known else len(ARCHITECTURES)

    return min(entries, key=rank)


def fetch_pair(
    pair: str,
    name: str,
    license_name: str | None,
    notify: Callable[[str], None],
    progress: Progress = no_progress,
) -> Checkpoint:
    """The checkpoint of a pair, fetched as far as it is not in the cache yet.

    Args:
        pair: ``<source>-<target>`` as the registry writes it.
        name: Name for the checkpoint.
        license_name: For the source record; the registry states none.
        notify: Told in one line of a model not released for desktop, and of the cache used in the registry's stead.
        progress: Shows downloads.

    Raises:
        UnavailableSourceError: The registry or a file can't be reached and the cache lacks it, or there's no such pair.
        SourceError: The registry or a file is not what it should be.
    """
    directory = source_dir("registry", pair)
    locks = cache_dir() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"registry-{pair}.lock"):
        try:
            base_url, entry = _find_entry(pair)
        except UnavailableSourceError as error:
            cached = _cached_entry(directory)
            if cached is None:
                raise
            notify(f"{error}; using the {cached.architecture} model of {pair} from edgekit's cache")
            entry = cached
        else:
            _fetch_files(base_url, entry, directory, progress)
            if entry.status != BEST_STATUS:
                notify(f"the registry has no {pair} model of status {BEST_STATUS!r}; using a {entry.status!r} one")
    files = {role: directory / file.name for role, file in entry.files.items()}
    languages = {"source": entry.source_language, "target": entry.target_language}
    record = {"type": "registry", "id": pair, "revision": entry.revision, "license": license_name}
    return read_pinned_files(files, languages, name, record)


def is_cached(pair: str) -> bool:
    """Whether a pair's model lies whole in edgekit's cache. Opens no connection."""
    return _cached_entry(source_dir("registry", pair)) is not None


def _find_entry(pair: str) -> tuple[str, RegistryEntry]:
    """The registry's base address and the pair's model."""
    body = read_url(REGISTRY_URL, MAX_REGISTRY_BYTES)
    try:
        registry = json.loads(body)
        base_url, models = registry["baseUrl"], registry["models"]
        listed = models.get(pair, ())
        entries = [_read_entry(entry) for entry in listed]
        pairs = sorted(models)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SourceError(
            f"{REGISTRY_URL} is not the registry that edgekit knows (baseUrl, models, files); look for a newer edgekit"
        ) from None
    if urlsplit(str(base_url)).scheme != (scheme := urlsplit(REGISTRY_URL).scheme):
        raise SourceError(f"{REGISTRY_URL} names the base address {base_url!r}, expected one of {scheme}:")
    if not entries:
        near = [other for other in pairs if set(other.split("-")) & set(pair.split("-")) - {"en"}]
        listing = ", ".join(near) if near else f"{len(pairs)} others, each with en on one side"
        raise UnavailableSourceError(f"Firefox's registry has no model for {pair}; it has {listing}")
    return base_url, choose_entry(entries)


def _read_entry(entry: Mapping[str, Any]) -> RegistryEntry:
    files = {ROLES[key]: _read_file(file) for key, file in entry["files"].items() if key in ROLES}
    if "weights" not in files or not ("vocab" in files or {"source_spm", "target_spm"} <= set(files)):
        raise KeyError("files")
    return RegistryEntry(
        architecture=str(entry["architecture"]),
        status=str(entry.get("releaseStatus")),
        source_language=str(entry["sourceLanguage"]),
        target_language=str(entry["targetLanguage"]),
        files=files,
    )


def _read_file(file: Mapping[str, Any]) -> RegistryFile:
    path, sha256, size = file["path"], file.get("uncompressedHash"), file.get("uncompressedSize")
    found = RegistryFile(path, sha256, int(size) if size is not None else None)
    if file_name_problem(found.name) or (sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256)):
        raise ValueError(path)
    return found


def _fetch_files(base_url: str, entry: RegistryEntry, directory: Path, progress: Progress) -> None:
    """Bring `directory` up to `entry`."""
    if _cached_entry(directory) == entry:
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ENTRY_NAME).unlink(missing_ok=True)
    for file in entry.files.values():
        target = directory / file.name
        url = f"{base_url.rstrip('/')}/{quote(file.path.lstrip('/'))}"
        fetched = directory / f"{file.name}.fetched"
        with progress(f"fetching {file.name}", unit="bytes") as bar:
            download(url, fetched, MAX_FILE_BYTES, bar)
        # Some HTTP stacks and mirrors unpack .gz objects on the way, so the content decides.
        if is_gzip(fetched):
            unpack_gzip(fetched, target, file.size_bytes or MAX_FILE_BYTES)
            fetched.unlink()
        else:
            fetched.replace(target)
        size_bytes, sha256 = hash_file(target)
        if file.size_bytes not in (None, size_bytes) or file.sha256 not in (None, sha256):
            target.unlink()
            raise SourceError(
                f"{url} unpacks to {size_bytes:,} bytes with the SHA-256 {sha256}, expected {file.size_bytes} and "
                f"{file.sha256}; what was fetched is deleted, try again"
            )
    _write_entry(directory, entry)


def _write_entry(directory: Path, entry: RegistryEntry) -> None:
    """Remember the entry and each file's size and hash as found, which marks the directory as whole."""
    found = {file.name: hash_file(directory / file.name) for file in entry.files.values()}
    part = directory / f"{ENTRY_NAME}.part"
    part.write_text(json.dumps({"entry": asdict(entry), "found": found}, indent=2) + "\n", encoding="utf-8")
    part.replace(directory / ENTRY_NAME)


def _cached_entry(directory: Path) -> RegistryEntry | None:
    """The entry whose files lie whole and unchanged in a directory, or None."""
    try:
        saved = json.loads((directory / ENTRY_NAME).read_text(encoding="utf-8"))
        files = {role: RegistryFile(**file) for role, file in saved["entry"].pop("files").items()}
        entry = RegistryEntry(**saved["entry"], files=files)
        whole = all(list(hash_file(directory / name)) == found for name, found in saved["found"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return entry if whole else None
