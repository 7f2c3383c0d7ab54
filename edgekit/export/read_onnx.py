"""What the files beside optimum's graphs say of a model: limits, token ids, tokenizer.

In: config.json, generation_config.json and the tokenizer's files, as transformers writes them, whatever the
architecture. Out: `ImportedModel`. Refused: options of search that edgekit doesn't follow, ids outside the vocabulary,
a folder without tokenizer.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

from edgekit.bundle.generation import Generation, TextGeneration
from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.architectures.decoder_options import LIMITS, check_search_options
from edgekit.export.architectures.seq2seq_options import SEARCH_OPTIONS, TRANSLATION_FACTOR, read_rules
from edgekit.export.read_causal_lm import read_text_generation
from edgekit.export.sources.config_file import read_json
from edgekit.export.tokenizer.hub_tokenizer import read_hub_tokenizer
from edgekit.runtime.batching import LENGTH_MULTIPLE

# What configurations call the number of positions, the first that one has; those of other sizes never have these names.
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length")
SOURCE_POSITIONS = ("max_encoder_position_embeddings", *POSITIONS)
TARGET_POSITIONS = ("max_decoder_position_embeddings", *POSITIONS)
# For models without a limit of their own, such as BLOOM's, which were trained on texts of this length.
DEFAULT_CONTEXT, DEFAULT_SENTENCE = 2048, 512


@dataclass(frozen=True)
class ImportedModel:
    """What is known of a model without its graphs.

    Attributes:
        model_type: config.json's.
        generation: token ids and limits.
        tokenizer_json: text of the bundle's tokenizer.json.
        chat_template: Jinja2; None if there is none.
        special_tokens: texts that the template may name.
    """

    model_type: str
    generation: Generation | TextGeneration
    tokenizer_json: str = field(repr=False)
    chat_template: str | None = None
    special_tokens: Mapping[str, str] = field(default_factory=dict)


def read_imported_text_model(files: Mapping[str, Path], vocab_size: int) -> ImportedModel:
    """Reads a decoder-only model's files.

    Args:
        files: by role, as a `Checkpoint` of kind ``onnx`` has them.
        vocab_size: the logits' width.

    Raises:
        SourceError: a file is damaged, or the files don't fit each other.
        UnsupportedError: options that are not implemented.
    """
    config, stored = _read_options(files)
    check_search_options(stored or config)
    tokenizer = read_hub_tokenizer(files, vocab_size)
    context = _read_limit(config, POSITIONS, DEFAULT_CONTEXT)
    return ImportedModel(
        model_type=str(config.get("model_type"))[:80],
        generation=read_text_generation(vocab_size, context, {**config, **stored}, tokenizer),
        tokenizer_json=tokenizer.text,
        chat_template=tokenizer.chat_template,
        special_tokens=tokenizer.special_tokens,
    )


def read_imported_seq2seq(files: Mapping[str, Path], vocab_size: int, *, is_translation: bool) -> ImportedModel:
    """Reads an encoder-decoder's files.

    Args:
        files: as `read_imported_text_model`'s.
        vocab_size: likewise.
        is_translation: whether targets are about as long as their sources.

    Raises:
        SourceError: as there.
        UnsupportedError: as there.
    """
    config, stored = _read_options(files)
    options = {**config, **stored}
    searched = stored or config
    _check_search(searched)
    ids = _read_ids(options, vocab_size)
    text = files["tokenizer"].read_text(encoding="utf-8-sig")
    before, unk = _read_source_frame(files["tokenizer"], text, ids["eos_token_id"])
    longest_source = _read_limit(config, SOURCE_POSITIONS, DEFAULT_SENTENCE)
    longest = _read_limit(config, TARGET_POSITIONS, DEFAULT_SENTENCE)
    stated = searched.get("max_length")
    if type(stated) is int and stated > 0:
        longest = min(longest, stated)
    forces_eos = searched.get("forced_eos_token_id") is not None
    generation = Generation(
        start_token_id=ids["decoder_start_token_id"],
        eos_token_id=ids["eos_token_id"],
        pad_token_id=ids["pad_token_id"],
        unk_token_id=unk,
        # Sources are padded to whole fours, and padding has positions too.
        max_source_tokens=max(1, longest_source // LENGTH_MULTIPLE * LENGTH_MULTIPLE),
        # transformers counts the start token and a forced EOS in max_length.
        max_length=max(1, longest - (2 if forces_eos else 1)),
        max_length_factor=TRANSLATION_FACTOR if is_translation else float(longest),
        forces_eos=forces_eos,
        forced_first_token_id=ids["forced_bos_token_id"] if searched.get("forced_bos_token_id") is not None else None,
        source_prefix=before,
        **read_rules(searched),
    )
    return ImportedModel(str(config.get("model_type"))[:80], generation, text)


def _read_options(files: Mapping[str, Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json and generation_config.json, the latter empty where there is none."""
    stored = read_json(files["generation_config"], "generation_config.json") if "generation_config" in files else {}
    return read_json(files["config"], "the model's configuration"), stored


def _check_search(options: Mapping[str, Any]) -> None:
    """Refuses what `edgekit.export.architectures.seq2seq_options` does, but for one more recommendation."""
    wrong = [
        f"{name}={options[name]!r:.120}"
        for name, values in SEARCH_OPTIONS.items()
        if name != "encoder_no_repeat_ngram_size" and name in options and options[name] not in values
    ]
    if wrong:
        raise UnsupportedError(f"unsupported generation options: {'; '.join(wrong)}; remove them to go without")


def _read_limit(config: Mapping[str, Any], names: tuple[str, ...], default: int) -> int:
    found = next((config[name] for name in names if config.get(name) is not None), default)
    if type(found) is not int or not 0 < found <= LIMITS["context_length"]:
        raise SourceError(f"config.json: expected a number of positions above 0, found {found!r:.80}; export it again")
    return found


def _read_ids(options: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """The token ids of a search: EOS and the start token there must be."""
    names = ("decoder_start_token_id", "eos_token_id", "pad_token_id", "forced_bos_token_id", "forced_eos_token_id")
    stated = ((name, options.get(name)) for name in names)
    ids: dict[str, Any] = {name: v[0] if isinstance(v, list) and len(v) == 1 else v for name, v in stated}
    wrong = [
        f"{name}={value!r:.60}"
        for name, value in ids.items()
        if not (type(value) is int and 0 <= value < vocab_size)
        and (value is not None or name in ("decoder_start_token_id", "eos_token_id"))
    ]
    if wrong:
        raise SourceError(f"config.json: expected ids below the vocabulary's {vocab_size}, found {', '.join(wrong)}")
    if ids["forced_eos_token_id"] not in (None, ids["eos_token_id"]):
        raise UnsupportedError(
            f"forced_eos_token_id={ids['forced_eos_token_id']} (expected eos_token_id, {ids['eos_token_id']})"
        )
    return ids


def _read_source_frame(path: Path, text: str, eos: int) -> tuple[tuple[int, ...], int | None]:
    """The ids that the tokenizer puts before a text, and the unknown token's; behind a text it must put EOS."""
    try:
        tokenizer = tokenizers.Tokenizer.from_str(text)
        added = tokenizer.encode("", add_special_tokens=True).ids
        unknown = json.loads(text)["model"].get("unk_token")
        unk = tokenizer.token_to_id(unknown) if isinstance(unknown, str) else None
    except BaseException as error:
        # A panic of pyo3 is a BaseException whose class can't be imported.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:200]
        raise SourceError(
            f"{path}: expected a tokenizer that the tokenizers library loads, found: {reason}; fetch it again"
        ) from None
    if added[-1:] != [eos]:
        raise UnsupportedError(
            f"{path}: expected a tokenizer that ends a text with EOS ({eos}), found ids {added[-8:]}"
        )
    return tuple(added[:-1]), unk
