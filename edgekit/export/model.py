"""A model on its way from a checkpoint to a bundle: what every reader gives and the writer takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgekit.bundle.generation import Generation, TextGeneration
from edgekit.bundle.manifest import TokenizerFiles
from edgekit.graph.causal_lm_config import CausalLMConfig
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


@dataclass(frozen=True)
class CausalLMModel:
    """A decoder-only model in memory.

    Attributes:
        config: sizes and options.
        weights: canonical weights by name; each access may read or calculate them anew.
        generation: token ids and limits.
        tokenizer_json: text of a tokenizer.json as the `tokenizers` library takes it.
        vocab_size: rows of the embedding: ids are below this.
        chat_template: the model's Jinja2 template; None if it has none.
        special_tokens: texts that the template may name (``bos_token``, ``eos_token`` ...).
        source_quantization: types of the source's own quantised matrices, such as ``Q4_1, Q8_0``; None: floats.
    """

    config: CausalLMConfig
    weights: Mapping[str, Tensor]
    generation: TextGeneration
    tokenizer_json: str = field(repr=False)
    vocab_size: int
    chat_template: str | None
    special_tokens: Mapping[str, str]
    source_quantization: str | None = None
