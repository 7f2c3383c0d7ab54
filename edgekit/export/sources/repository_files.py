"""Which files of a Hugging Face repository make a checkpoint, and which of them lie in a directory.

In: a directory and the ``model_type`` that its config.json declares; or, before anything is fetched, the names of a
repository's files. Out: paths by role. Refused: a type that edgekit does not export, files that are missing (all of
them named), shards that an index names and the directory lacks. Reads nothing but the index of sharded weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.safetensors_file import read_weight_map

__all__ = [
    "CAUSAL_LM_TYPES",
    "DOCUMENTS",
    "GGUF_SUFFIX",
    "SEQ2SEQ_TYPES",
    "WEIGHT_FILES",
    "check_type",
    "find_any_files",
    "find_files",
    "select_files",
]

# Decoder-only architectures; `edgekit.export.read_causal_lm` has a reader for each.
CAUSAL_LM_TYPES = ("llama", "qwen2", "qwen3", "gpt2", "gemma3_text")
# Encoder-decoders but for MarianMT; `edgekit.export.read_seq2seq` has a reader for each.
SEQ2SEQ_TYPES = ("t5", "mt5", "bart", "mbart", "pegasus", "m2m_100")

# Role in the checkpoint -> file in a repository, without the weights.
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
CAUSAL_LM_FILES = {
    "config": "config.json",
    "tokenizer": "tokenizer.json",
    "generation_config": "generation_config.json",
    "tokenizer_config": "tokenizer_config.json",
    "special_tokens_map": "special_tokens_map.json",
    "chat_template": "chat_template.jinja",
}
SEQ2SEQ_FILES = {
    "config": "config.json",
    "tokenizer": "tokenizer.json",
    "vocab": "vocab.json",
    "merges": "merges.txt",
    "generation_config": "generation_config.json",
    "tokenizer_config": "tokenizer_config.json",
    "special_tokens_map": "special_tokens_map.json",
}
SPM_FILES = ("spiece.model", "sentencepiece.bpe.model")
# What else transformers makes a tokenizer of.
OTHER_TOKENIZER_FILES = ("tokenizer.model", "vocab.txt", "added_tokens.json")
MARIAN_REQUIRED = ("config", "source_spm", "target_spm", "vocab")
CAUSAL_LM_REQUIRED = ("config", "tokenizer")
# safetensors first: they can hold nothing but tensors.
INDEX_FILE = "model.safetensors.index.json"
WEIGHT_FILES = ("model.safetensors", INDEX_FILE, "pytorch_model.bin")
GGUF_SUFFIX = ".gguf"
DOCUMENTS = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")

# The hub's own naming of shards; an index that names others has them missing.
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_OTHER_TOKENIZERS = ("tokenizer.model", "vocab.json", "spiece.model")


def find_files(directory: Path, model_type: object) -> dict[str, Path]:
    """The files of a checkpoint by role, as `Checkpoint` lists them.

    Raises:
        UnsupportedError: Another model type, or weights in a form that edgekit does not read.
        SourceError: Files are missing; all are named.
    """
    check_type(model_type, str(directory))
    is_marian, is_seq2seq = model_type == "marian", model_type in SEQ2SEQ_TYPES
    names = MARIAN_FILES if is_marian else SEQ2SEQ_FILES if is_seq2seq else CAUSAL_LM_FILES
    files = {role: directory / file for role, file in names.items() if (directory / file).is_file()}
    if is_seq2seq:
        spms = [directory / file for file in SPM_FILES if (directory / file).is_file()]
        files |= {"spm": spms[0]} if spms else {}
        missing = (
            [] if files.keys() & {"spm", "tokenizer"} or {"vocab", "merges"} <= files.keys() else ["tokenizer.json"]
        )
    else:
        missing = [names[role] for role in (MARIAN_REQUIRED if is_marian else CAUSAL_LM_REQUIRED) if role not in files]
    weights = _find_weights(directory)
    if not weights:
        missing.append(f"{', '.join(WEIGHT_FILES[:-1])} or {WEIGHT_FILES[-1]}")
    if missing:
        needs = "a MarianMT checkpoint needs" if is_marian else f"a checkpoint of type {model_type} needs"
        raise SourceError(f"{directory} lacks {', '.join(missing)}, which {needs}{_tokenizer_advice(directory, files)}")
    return files | weights


def find_any_files(directory: Path, model_type: str) -> dict[str, Path]:
    """The files of a checkpoint that transformers itself is to read, as far as edgekit knows their names.

    Raises:
        UnsupportedError: Weights in a form that edgekit does not read.
        SourceError: Weights are missing.
    """
    names = {**SEQ2SEQ_FILES, **CAUSAL_LM_FILES}
    files = {role: directory / file for role, file in names.items() if (directory / file).is_file()}
    weights = _find_weights(directory)
    if not weights:
        raise SourceError(
            f"{directory} lacks {', '.join(WEIGHT_FILES[:-1])} or {WEIGHT_FILES[-1]}, which a checkpoint of type "
            f"{model_type} needs"
        )
    return files | weights


def select_files(names: Iterable[str], where: str) -> tuple[list[str], list[str]]:
    """Those of a repository's files that an export may need: descriptions, and one form of the weights; never code.

    Args:
        names: The repository's files; those in folders are left out.
        where: The repository, for messages.

    Raises:
        SourceError: Its weights are several GGUF files, of which one has to be chosen.
    """
    present = set(names)
    files = (MARIAN_FILES, CAUSAL_LM_FILES, SEQ2SEQ_FILES)
    wanted = dict.fromkeys(
        [*(name for group in files for name in group.values()), *SPM_FILES, *OTHER_TOKENIZER_FILES, *DOCUMENTS]
    )
    weights = [file for file in WEIGHT_FILES if file in present][:1]
    if weights == [INDEX_FILE]:
        weights += sorted(filter(_SHARD.fullmatch, present))
    if not weights:
        weights = sorted(file for file in present if file.endswith(GGUF_SUFFIX) and "/" not in file)
        if len(weights) > 1:
            listed = ", ".join(weights[:4]) + ", ..." * (len(weights) > 4)
            raise SourceError(f"{where} has several GGUF files ({listed}); download one and give its path")
    return [file for file in wanted if file in present], weights


def check_type(model_type: object, where: str) -> None:
    """Raises `UnsupportedError` for a ``model_type`` that edgekit does not export."""
    types = ("marian", *SEQ2SEQ_TYPES, *CAUSAL_LM_TYPES)
    if model_type not in types:
        known = ", ".join(map(repr, types))
        raise UnsupportedError(
            f"{where}: config.json has model_type {model_type!r:.120}; edgekit exports {known}, "
            "GGUF files and Bergamot binaries"
        )


def _find_weights(directory: Path) -> dict[str, Path]:
    """``weights``, and for an index ``shard_1`` and so on in the order of their names; empty if there are none."""
    found = [directory / file for file in WEIGHT_FILES if (directory / file).is_file()]
    if not found and (directory / "pytorch_model.bin.index.json").is_file():
        raise UnsupportedError(
            f"{directory} holds pickled weights in several files; of sharded weights edgekit reads safetensors only"
        )
    if not found or found[0].name != INDEX_FILE:
        return {"weights": found[0]} if found else {}
    shards = sorted(set(read_weight_map(found[0]).values()))
    missing = [name for name in shards if not (directory / name).is_file()]
    if missing:
        listed = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise SourceError(f"{directory} lacks {listed}, which {INDEX_FILE} names; fetch the missing files")
    return {"weights": found[0]} | {f"shard_{i}": directory / name for i, name in enumerate(shards, 1)}


def _tokenizer_advice(directory: Path, files: Mapping[str, Path]) -> str:
    """What to do about a tokenizer in a form that only transformers reads."""
    others = [name for name in _OTHER_TOKENIZERS if (directory / name).is_file()]
    if "tokenizer" in files or "source_spm" in files or not others:
        return ""
    return (
        f"; it has {others[0]}, of which transformers makes one: "
        'AutoTokenizer.from_pretrained("DIRECTORY").save_pretrained("DIRECTORY")'
    )
