"""A Hugging Face MarianMT checkpoint's files to a `Seq2SeqModel`."""

from __future__ import annotations

from typing import Any

from edgekit.bundle.manifest import Generation, TokenizerFiles
from edgekit.errors import SourceError
from edgekit.export.architectures import marian
from edgekit.export.architectures.marian_options import merge_options
from edgekit.export.model import Seq2SeqModel
from edgekit.export.sources.checkpoint import Checkpoint
from edgekit.export.sources.config_file import read_json
from edgekit.export.sources.tensor_files import read_tensors
from edgekit.export.tokenizer import build_marian_tokenizers
from edgekit.graph.config import Seq2SeqConfig
from edgekit.runtime.batching import LENGTH_MULTIPLE

# Marian's own default (its option max-length-factor).
MAX_LENGTH_FACTOR = 3.0


def read_marian(checkpoint: Checkpoint) -> Seq2SeqModel:
    """Reads config.json, the weights and the SentencePiece vocabularies.

    Raises:
        UnsupportedError: options that are not implemented, all in one message.
        SourceError: a file is damaged, or the files don't fit each other.
    """
    files = checkpoint.files
    generation = files.get("generation_config")
    options = merge_options(
        read_json(files["config"], "config.json"),
        None if generation is None else read_json(generation, "generation_config.json"),
    )
    config = marian.read_config(options)
    weights = marian.map_weights(config, read_tensors(files), options)
    vocabs = [read_json(files[role], files[role].name) for role in ("vocab", "target_vocab") if role in files]
    spms = [files[role].read_bytes() for role in ("source_spm", "target_spm")]
    source, target = build_marian_tokenizers(spms[0], spms[1], *vocabs)
    # opus-mt's models have a segmentation for each side, others one for both.
    names = ("tokenizer.json",) * 2 if source == target else ("source_tokenizer.json", "target_tokenizer.json")
    return Seq2SeqModel(
        config=config,
        weights=weights,
        generation=_read_generation(config, options, vocabs[0]),
        tokenizers=dict(zip(names, (source, target), strict=True)),
        tokenizer_files=TokenizerFiles(*names, config.source_vocab_size, config.target_vocab_size),
    )


def _read_generation(config: Seq2SeqConfig, options: dict[str, Any], vocab: dict[str, int]) -> Generation:
    """Token ids and limits; transformers counts the start token and a forced EOS in ``max_length``."""
    names = ("decoder_start_token_id", "eos_token_id", "pad_token_id")
    ids: dict[str, Any] = {name: options.get(name) for name in names}
    wrong = [f"{k}={v!r}" for k, v in ids.items() if type(v) is not int or not 0 <= v < config.target_vocab_size]
    if wrong:
        raise SourceError(f"config.json: expected ids within the vocabulary, found {', '.join(wrong)}")
    longest = options.get("max_length") or config.max_position_embeddings
    if type(longest) is not int or longest < 1:
        raise SourceError(f"config.json: expected a whole number above 0 for max_length, found {longest!r}")
    forces_eos = options.get("forced_eos_token_id") is not None
    return Generation(
        start_token_id=ids["decoder_start_token_id"],
        eos_token_id=ids["eos_token_id"],
        pad_token_id=ids["pad_token_id"],
        unk_token_id=vocab.get("<unk>"),
        # Sources are padded to whole fours, and padding has positions too.
        max_source_tokens=config.max_position_embeddings // LENGTH_MULTIPLE * LENGTH_MULTIPLE,
        max_length=max(1, min(longest, config.max_position_embeddings) - (2 if forces_eos else 1)),
        max_length_factor=MAX_LENGTH_FACTOR,
        forces_eos=forces_eos,
    )
