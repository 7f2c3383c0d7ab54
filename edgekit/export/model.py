"""A model on its way from a checkpoint to a bundle: what every reader gives and the writer takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgekit.bundle.manifest import Generation, TokenizerFiles
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.tensors import Tensor


@dataclass(frozen=True)
class ShortlistArrays:
    """A lexical shortlist in the form of ``shortlist.npz``; see `edgekit.runtime.shortlist`."""

    offsets: np.ndarray
    target_ids: np.ndarray
    first: int


@dataclass(frozen=True)
class Seq2SeqModel:
    """An encoder-decoder in memory.

    Attributes:
        config: sizes and options.
        weights: canonical weights by name.
        generation: token ids and limits of greedy search.
        tokenizers: text of each ``tokenizer.json``, by file name.
        tokenizer_files: which of them serves which side.
        shortlist: where the model has one.
    """

    config: Seq2SeqConfig
    weights: Mapping[str, Tensor]
    generation: Generation
    tokenizers: Mapping[str, str] = field(repr=False)
    tokenizer_files: TokenizerFiles
    shortlist: ShortlistArrays | None = None
