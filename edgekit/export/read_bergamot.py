"""A Bergamot / Firefox Translations student's files to a `Seq2SeqModel`."""

from __future__ import annotations

import numpy as np

from edgekit.bundle.manifest import Generation, TokenizerFiles
from edgekit.errors import SourceError
from edgekit.export.architectures import bergamot
from edgekit.export.model import Seq2SeqModel, ShortlistArrays
from edgekit.export.sources.checkpoint import Checkpoint
from edgekit.export.sources.marian_binary import read_marian_binary
from edgekit.export.sources.shortlist_file import read_shortlist
from edgekit.export.tokenizer import build_tokenizer, vocab_size
from edgekit.graph.config import Seq2SeqConfig


def read_bergamot(checkpoint: Checkpoint) -> Seq2SeqModel:
    """Reads the Marian binary, the SentencePiece vocabularies and the lexical shortlist.

    A shortlist is used with a shared vocabulary only: with separate ones Mozilla measured that it costs quality
    (mozilla/translations issues 1068 and 1192).

    Raises:
        UnsupportedError: options that no student model has, all in one message.
        SourceError: a file is damaged, or the files don't fit each other.
    """
    files = checkpoint.files
    binary = read_marian_binary(files["weights"])
    use_shortlist = "shortlist" in files and "Wemb" in binary.tensors
    config = bergamot.read_config(binary.config, binary.tensors, shortlist=use_shortlist)
    weights = bergamot.map_weights(config, binary.tensors)
    sizes = config.source_vocab_size - int(config.shared_embeddings), config.target_vocab_size - 1
    names = ("tokenizer.json",) * 2 if config.shared_embeddings else ("source_tokenizer.json", "target_tokenizer.json")
    tokenizers = {}
    for name, role, size in zip(names, ("source_spm", "target_spm"), sizes, strict=True):
        tokenizers[name] = build_tokenizer(files[role].read_bytes())
        if (found := vocab_size(tokenizers[name])) != size:
            raise SourceError(f"{files[role].name} has {found} pieces, but the model's embedding has {size} rows")
    return Seq2SeqModel(
        config=config,
        weights=weights,
        generation=_generation(config),
        tokenizers=tokenizers,
        tokenizer_files=TokenizerFiles(*names, *sizes),
        shortlist=_read_shortlist(checkpoint, sizes) if use_shortlist else None,
    )


def _generation(config: Seq2SeqConfig) -> Generation:
    return Generation(
        start_token_id=config.target_vocab_size - 1,  # the appended zero row
        eos_token_id=bergamot.EOS_TOKEN_ID,
        pad_token_id=bergamot.EOS_TOKEN_ID,
        unk_token_id=bergamot.UNK_TOKEN_ID,
        max_source_tokens=bergamot.MAX_SOURCE_TOKENS,
        max_length=config.max_position_embeddings,
        max_length_factor=bergamot.MAX_LENGTH_FACTOR,
    )


def _read_shortlist(checkpoint: Checkpoint, sizes: tuple[int, int]) -> ShortlistArrays:
    """The file's lists, each with its own source id added: with a shared vocabulary a word may be copied."""
    listed = read_shortlist(checkpoint.files["shortlist"], *sizes)
    ends = listed.offsets.astype(np.int64)
    counts = ends[1:] - ends[:-1]
    sources = np.concatenate([np.repeat(np.arange(sizes[0]), counts), np.arange(sizes[0])])
    pairs = np.unique(np.stack([sources, np.concatenate([listed.target_ids, np.arange(sizes[0])])], axis=1), axis=0)
    offsets = np.searchsorted(pairs[:, 0], np.arange(sizes[0] + 1)).astype(np.uint32)
    ids = pairs[:, 1].astype(np.uint16 if sizes[1] <= 1 << 16 else np.uint32)
    return ShortlistArrays(offsets, ids, listed.first)
