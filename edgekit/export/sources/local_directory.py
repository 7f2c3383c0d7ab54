"""Reads which checkpoint a directory holds, by what its files declare and never by the directory's name.

In: a directory on this disk, of one of two layouts. Out: a `Checkpoint`.

- Hugging Face MarianMT: a ``config.json`` whose ``model_type`` is ``marian``.
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
from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.checkpoint import Checkpoint, source_record
from edgekit.export.sources.config_file import read_json
from edgekit.export.sources.gzip_file import unpack_gzip
from edgekit.export.sources.marian_binary import VERSION as MARIAN_BINARY_VERSION
from edgekit.export.sources.shortlist_file import MAGIC as SHORTLIST_MAGIC

__all__ = ["MARIAN_FILES", "MAX_MODEL_BYTES", "read_bergamot_files", "read_directory"]

# The largest published student model has 43 MB; the largest opus-mt repository's weights have less than 1 GB.
MAX_MODEL_BYTES = 4 * 2**30
MAX_UNPACKED_BYTES = 2**30

# Role in the checkpoint -> file in a MarianMT repository, without the weights.
MARIAN_FILES = {
    "config": "config.json",
    "source_spm": "source.spm",
    "target_spm": "target.spm",
    "vocab": "vocab.json",
    "target_vocab": "target_vocab.json",
    "generation_config": "generation_config.json",
    "tokenizer_config": "tokenizer_config.json",
    "special_tokens_map": "special_tokens_map.json",
}
REQUIRED_ROLES = ("config", "source_spm", "target_spm", "vocab")
# safetensors first: it can hold nothing but tensors.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
DOCUMENTS = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")


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
    config = (
        read_json(directory / "config.json", "the model's configuration")
        if (directory / "config.json").is_file()
        else {}
    )
    model_type = config.get("model_type")
    binaries = _files_that_start_with(directory, "*.bin", MARIAN_BINARY_VERSION)
    if model_type is not None and binaries:
        raise SourceError(
            f"{directory} holds two checkpoints, config.json of type {model_type!r} and the Marian binary "
            f"{binaries[0].name}; leave one of them in the directory"
        )
    if model_type is not None:
        files = _marian_files(directory, model_type)
        kind, languages = "marian", _marian_languages(directory)
    else:
        files = _bergamot_files(directory, binaries)
        kind, languages = "bergamot", _bergamot_languages(files["weights"])
    card_license = _card_license(directory)
    if card_license is not None and card_license.lower() != (license_name or "").lower():
        license_name = card_license  # hub cards write identifiers in lower case; the caller's spelling is SPDX's
    return Checkpoint(
        name=name,
        kind="marian" if kind == "marian" else "bergamot",
        files=files,
        languages=languages,
        license=license_name,
        source=source_record(source_type, source_id or directory.resolve().name, revision, license_name, files),
        documents=tuple(directory / file for file in DOCUMENTS if (directory / file).is_file()),
    )


def read_bergamot_files(
    files: Mapping[str, Path], languages: Mapping[str, str | None], name: str, record: Mapping[str, Any]
) -> Checkpoint:
    """A ``bergamot`` checkpoint from files whose roles are known.

    Args:
        files: ``weights``, and either ``vocab`` or ``source_spm`` and ``target_spm``; perhaps ``shortlist``.
        languages: As in `Checkpoint`.
        name: Name for the checkpoint.
        record: `source_record`'s other arguments: ``type``, ``id``, ``revision``, ``license``.
    """
    roles = dict(files)
    if vocab := roles.pop("vocab", None):
        roles |= {"source_spm": vocab, "target_spm": vocab}
    source = source_record(record["type"], record["id"], record["revision"], record["license"], roles)
    return Checkpoint(name, "bergamot", roles, languages, record["license"], source)


def _marian_files(directory: Path, model_type: object) -> dict[str, Path]:
    if model_type != "marian":
        raise UnsupportedError(
            f"{directory}: config.json has model_type {model_type!r}; edgekit exports 'marian' and Bergamot binaries"
        )
    files = {role: directory / file for role, file in MARIAN_FILES.items() if (directory / file).is_file()}
    weights = [directory / file for file in WEIGHT_FILES if (directory / file).is_file()]
    if not weights and any(directory.glob("*.index.json")):
        raise UnsupportedError(f"{directory} holds weights in several files; join them into one model.safetensors")
    missing = [MARIAN_FILES[role] for role in REQUIRED_ROLES if role not in files]
    if not weights:
        missing.append(" or ".join(WEIGHT_FILES))
    if missing:
        raise SourceError(f"{directory} lacks {', '.join(missing)}, which a MarianMT checkpoint needs")
    return files | {"weights": weights[0]}


def _bergamot_files(directory: Path, binaries: list[Path]) -> dict[str, Path]:
    if not binaries:
        archives = [path.name for path in sorted(directory.glob("*.npz"))]
        if archives:
            raise UnsupportedError(f"{directory} holds {archives[0]}; of Marian's own formats edgekit reads .bin only")
        raise SourceError(
            f"{directory} holds no checkpoint: neither a config.json with model_type 'marian' nor a Marian .bin file"
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


def _marian_languages(directory: Path) -> dict[str, str | None]:
    path = directory / MARIAN_FILES["tokenizer_config"]
    config = read_json(path, "the tokenizer's configuration") if path.is_file() else {}
    codes = (config.get("source_lang"), config.get("target_lang"))
    source, target = (code if isinstance(code, str) and re.fullmatch(r"[\w-]{2,40}", code) else None for code in codes)
    return {"source": source, "target": target}


def _bergamot_languages(weights: Path) -> dict[str, str | None]:
    """Languages from Firefox's file names, ``model.<src><tgt>.intgemm.alphas.bin`` with two letters each."""
    found = re.match(r"model\.([a-z]{2})([a-z]{2})\.", weights.name)
    return {"source": found[1], "target": found[2]} if found else {"source": None, "target": None}


def _card_license(directory: Path) -> str | None:
    """The ``license`` of a model card's front matter, https://huggingface.co/docs/hub/model-cards."""
    try:
        with open(directory / "README.md", encoding="utf-8", errors="replace") as file:
            start = file.read(1 << 16)
    except OSError:
        return None
    front_matter = re.match(r"---\r?\n(.*?)\r?\n---", start, re.DOTALL)
    found = re.search(r"^license:[ \t]*([\w.+-]+)[ \t]*\r?$", front_matter[1], re.MULTILINE) if front_matter else None
    return found[1] if found else None
