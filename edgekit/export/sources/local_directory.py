"""Reads which checkpoint a directory holds, by what its files declare and never by the directory's name.

In: a directory on this disk, of one of three layouts. Out: a `Checkpoint`.

- Hugging Face: a ``config.json`` whose ``model_type`` says the architecture (`repository_files`).
- GGUF: exactly one ``*.gguf``; or such a file by its own path.
- Bergamot (also Firefox's files, gzipped or not): one Marian binary, one or two ``*.spm``, at most one shortlist; the
  first bytes tell a binary from a shortlist. Gzipped files are unpacked into the cache, bounded.

Refused in one line: no candidate, several candidates, missing files (all of them named), other model types. Symbolic
links are followed, since the hub's own cache consists of them. Weights are not parsed here.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.bundle.files import MANIFEST_NAME, hash_file
from edgekit.cache import source_dir
from edgekit.errors import EdgekitError, SourceError, UnsupportedError
from edgekit.export.optimum import has_optimum, optimum_task
from edgekit.export.sources.checkpoint import Checkpoint, Kind, source_record
from edgekit.export.sources.config_file import read_json
from edgekit.export.sources.gzip_file import unpack_gzip
from edgekit.export.sources.marian_binary import VERSION as MARIAN_BINARY_VERSION
from edgekit.export.sources.repository_files import (
    DOCUMENTS,
    GGUF_SUFFIX,
    SEQ2SEQ_TYPES,
    WEIGHT_FILES,
    check_type,
    find_any_files,
    find_files,
)
from edgekit.export.sources.shortlist_file import MAGIC as SHORTLIST_MAGIC

__all__ = ["check_model_type", "is_whole", "read_directory", "read_gguf_file", "read_pinned_files"]

# The largest published student model has 43 MB.
MAX_UNPACKED_BYTES = 2**30


def read_directory(
    directory: Path,
    name: str,
    source_type: str = "local",
    source_id: str | None = None,
    revision: str | None = None,
    license_name: str | None = None,
) -> Checkpoint:
    """The checkpoint in a directory.

    Args:
        directory: Where its files lie.
        name: Name for the checkpoint.
        source_type: For the source record.
        source_id: For the source record; None takes the directory's own name.
        revision: For the source record.
        license_name: Licence, if the model card in the directory states none.

    Raises:
        SourceError: No checkpoint, several, or one that lacks files.
        UnsupportedError: A model type or a layout that edgekit does not read.
    """
    if (directory / MANIFEST_NAME).is_file():
        raise SourceError(f"{directory} is an edgekit bundle already; `edgekit quantize {directory}` makes it int8")
    kind, files = _find_checkpoint(directory)
    languages = _bergamot_languages(files["weights"]) if kind == "bergamot" else _tokenizer_languages(directory)
    stated = card_license(directory)
    if stated is not None and stated.lower() != (license_name or "").lower():
        license_name = stated  # hub cards write identifiers in lower case; the caller's spelling is SPDX's
    return Checkpoint(
        name=name,
        kind=kind,
        files=files,
        languages=languages,
        license=license_name,
        source=source_record(source_type, source_id or directory.resolve().name, revision, license_name, files),
        documents=tuple(directory / file for file in DOCUMENTS if (directory / file).is_file()),
        model_type=str(_model_type(directory)) if kind == "seq2seq" else None,
    )


def read_gguf_file(path: Path, name: str) -> Checkpoint:
    """The checkpoint that one GGUF file is.

    Args:
        path: The file, whatever else lies beside it.
        name: Name for the checkpoint.

    Raises:
        SourceError: The file cannot be read.
    """
    source = source_record("local", path.name, None, None, {"weights": path})
    return Checkpoint(name, "gguf", {"weights": path}, {"source": None, "target": None}, None, source)


def read_pinned_files(
    files: Mapping[str, Path], languages: Mapping[str, str | None], name: str, record: Mapping[str, Any]
) -> Checkpoint:
    """A checkpoint from files whose roles are known: of kind ``gguf`` or ``bergamot``.

    Args:
        files: ``weights`` alone, a GGUF file; or ``weights`` with either ``vocab`` or ``source_spm`` and
            ``target_spm``, and perhaps ``shortlist``.
        languages: As in `Checkpoint`.
        name: Name for the checkpoint.
        record: `source_record`'s other arguments: ``type``, ``id``, ``revision``, ``license``.
    """
    roles = dict(files)
    if vocab := roles.pop("vocab", None):
        roles |= {"source_spm": vocab, "target_spm": vocab}
    source = source_record(record["type"], record["id"], record["revision"], record["license"], roles)
    kind: Kind = "gguf" if roles["weights"].suffix == GGUF_SUFFIX else "bergamot"
    return Checkpoint(name, kind, roles, languages, record["license"], source)


def check_model_type(directory: Path) -> None:
    """Raises `UnsupportedError` if a directory's config.json declares a type that edgekit does not export."""
    if (model_type := _model_type(directory)) is not None:
        _optimum_kind(directory, model_type)


def is_whole(directory: Path) -> bool:
    """Whether a directory holds a checkpoint with all its files."""
    try:
        return bool(_find_checkpoint(directory))
    except EdgekitError:
        return False


def _find_checkpoint(directory: Path) -> tuple[Kind, dict[str, Path]]:
    """The kind of the one checkpoint in a directory, and its files by role."""
    model_type = _model_type(directory)
    binaries = _files_that_start_with(directory, "*.bin", MARIAN_BINARY_VERSION)
    gguf_files = sorted(path for path in directory.glob(f"*{GGUF_SUFFIX}") if path.is_file())
    has_weights = any((directory / file).is_file() for file in WEIGHT_FILES)
    if len(gguf_files) > 1 and not binaries and not has_weights:
        listed = ", ".join(path.name for path in gguf_files[:4]) + ", ..." * (len(gguf_files) > 4)
        raise SourceError(f"{directory} holds several GGUF files ({listed}); give the path of one of them")
    describes_gguf = bool(gguf_files) and not has_weights
    candidates = [f"config.json of type {model_type!r:.120}"] * (model_type is not None and not describes_gguf)
    candidates += [f"the Marian binary {path.name}" for path in binaries[:1]]
    candidates += [f"the GGUF file {path.name}" for path in gguf_files[:1]]
    if len(candidates) > 1:
        advice = "leave one of them in the directory" + ", or give the GGUF file's own path" * bool(gguf_files)
        raise SourceError(f"{directory} holds two checkpoints, {candidates[0]} and {candidates[1]}; {advice}")
    if gguf_files:
        return "gguf", {"weights": gguf_files[0]}
    if model_type is not None and (traced := _optimum_kind(directory, model_type)) is not None:
        return traced, find_any_files(directory, str(model_type))
    if model_type is not None:
        files = find_files(directory, model_type)
        return "marian" if model_type == "marian" else "seq2seq" if model_type in SEQ2SEQ_TYPES else "causal-lm", files
    return "bergamot", _bergamot_files(directory, binaries)


def _optimum_kind(directory: Path, model_type: object) -> Kind | None:
    """The kind of a checkpoint that optimum has to export; None for one that edgekit exports itself.

    Raises:
        UnsupportedError: Neither does, or optimum is not installed.
    """
    try:
        check_type(model_type, str(directory))
    except UnsupportedError as error:
        is_seq2seq = read_json(directory / "config.json", "the model's configuration").get("is_encoder_decoder") is True
        if not has_optimum():
            raise UnsupportedError(f'{error}; for more, pip install "edgekit[optimum]"') from None
        if optimum_task(str(model_type), is_encoder_decoder=is_seq2seq) is None:
            raise UnsupportedError(f"{error}; optimum doesn't export it as such a model either") from None
        return "optimum-seq2seq" if is_seq2seq else "optimum-causal-lm"
    return None


def _model_type(directory: Path) -> object:
    config = directory / "config.json"
    return read_json(config, "the model's configuration").get("model_type") if config.is_file() else None


def _bergamot_files(directory: Path, binaries: list[Path]) -> dict[str, Path]:
    if not binaries:
        archives = [path.name for path in sorted(directory.glob("*.npz"))]
        if archives:
            raise UnsupportedError(f"{directory} holds {archives[0]}; of Marian's own formats edgekit reads .bin only")
        raise SourceError(
            f"{directory} holds no checkpoint: no config.json with a model_type, no .gguf file and no Marian .bin file"
        )
    shortlists = _files_that_start_with(directory, "*.bin", SHORTLIST_MAGIC)
    vocabs = sorted(path for pattern in ("*.spm", "*.spm.gz") for path in directory.glob(pattern))
    for what, found in (("Marian binaries", binaries), ("shortlists", shortlists)):
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise SourceError(f"{directory} holds several {what} ({names}); leave one of them in the directory")
    files = {"weights": binaries[0]} | _bergamot_vocabularies(directory, vocabs)
    if shortlists:
        files["shortlist"] = shortlists[0]
    return _unpacked(directory, files)


def _bergamot_vocabularies(directory: Path, vocabs: list[Path]) -> dict[str, Path]:
    """One shared vocabulary, or two whose names tell the sides: srcvocab and trgvocab, or source and target."""
    if len(vocabs) == 1:
        return {"source_spm": vocabs[0], "target_spm": vocabs[0]}
    sources = [path for path in vocabs if path.name.startswith(("src", "source"))]
    targets = [path for path in vocabs if path.name.startswith(("trg", "tgt", "target"))]
    if len(vocabs) == 2 and len(sources) == len(targets) == 1:
        return {"source_spm": sources[0], "target_spm": targets[0]}
    names = ", ".join(path.name for path in vocabs) or "none"
    raise SourceError(
        f"{directory}: expected one vocabulary *.spm, or srcvocab*.spm and trgvocab*.spm, found {names}; "
        "leave those of one model in the directory"
    )


def _files_that_start_with(directory: Path, pattern: str, magic: int) -> list[Path]:
    """The files, gzipped or not, whose first eight bytes are `magic` in little endian."""
    paths = sorted([*directory.glob(pattern), *directory.glob(f"{pattern}.gz")])
    return [path for path in paths if _first_word(path) == magic]


def _first_word(path: Path) -> int | None:
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            start = file.read(8)
    except (OSError, EOFError, zlib.error):
        return None
    return int(struct.unpack("<Q", start)[0]) if len(start) == 8 else None


def _unpacked(directory: Path, files: Mapping[str, Path]) -> dict[str, Path]:
    """The same files with gzipped ones unpacked, once for each content, into the cache."""
    packed = sorted({path for path in files.values() if path.suffix == ".gz"})
    if not packed:
        return dict(files)
    digest = hashlib.sha256()
    for path in packed:
        digest.update(f"{path.name}\0{hash_file(path)[1]}\n".encode())
    target = source_dir("local", digest.hexdigest()[:16])
    target.mkdir(parents=True, exist_ok=True)
    for path in packed:
        if not (target / path.stem).exists():
            unpack_gzip(path, target / path.stem, MAX_UNPACKED_BYTES)
    return {role: target / path.stem if path.suffix == ".gz" else path for role, path in files.items()}


def _tokenizer_languages(directory: Path) -> dict[str, str | None]:
    """The languages of tokenizer_config.json: MarianMT's own, or those that a many-language model has unless asked."""
    path = directory / "tokenizer_config.json"
    config = read_json(path, "the tokenizer's configuration") if path.is_file() else {}
    codes = (config.get("source_lang", config.get("src_lang")), config.get("target_lang", config.get("tgt_lang")))
    source, target = (code if isinstance(code, str) and re.fullmatch(r"[\w-]{2,40}", code) else None for code in codes)
    return {"source": source, "target": target}


def _bergamot_languages(weights: Path) -> dict[str, str | None]:
    """Languages from Firefox's file names, ``model.<src><tgt>.intgemm.alphas.bin`` with two letters each."""
    found = re.match(r"model\.([a-z]{2})([a-z]{2})\.", weights.name)
    return {"source": found[1], "target": found[2]} if found else {"source": None, "target": None}


def card_license(directory: Path) -> str | None:
    """The ``license`` of a model card's front matter, https://huggingface.co/docs/hub/model-cards."""
    try:
        with open(directory / "README.md", encoding="utf-8", errors="replace") as file:
            start = file.read(1 << 16)
    except OSError:
        return None
    front_matter = re.match(r"---\r?\n(.*?)\r?\n---", start, re.DOTALL)
    found = re.search(r"^license:[ \t]*([\w.+-]+)[ \t]*\r?$", front_matter[1], re.MULTILINE) if front_matter else None
    return found[1] if found else None
