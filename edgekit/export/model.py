"""A model on its way from a checkpoint to a bundle: what every reader gives and the writer takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgekit.bundle.generation import Generation, LanguageTokens, TextGeneration
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
        language_tokens: of a model that has many languages.
        unapplied: lines on what the checkpoint recommends for search and a bundle does not do by itself.
    """

    config: Seq2SeqConfig
    weights: Mapping[str, Tensor]
    generation: Generation
    tokenizers: Mapping[str, str] = field(repr=False)
    tokenizer_files: TokenizerFiles
    shortlist: ShortlistArrays | None = None
    language_tokens: LanguageTokens | None = None
    unapplied: tuple[str, ...] = ()


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


class FloatWeights(Mapping[str, Tensor]):
    """Weights in float32, each calculated when it is asked for: no more than one is in memory for long."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Takes weights that may be quantised."""
        self._weights = weights

    def __getitem__(self, name: str) -> np.ndarray:
        """One weight, as an array."""
        weight = self._weights[name]
        return weight if isinstance(weight, np.ndarray) else weight.dequantize()

    def __contains__(self, name: object) -> bool:
        """Whether there is such a weight, without calculating it."""
        return name in self._weights

    def __iter__(self) -> Iterator[str]:
        """The names, in their order."""
        return iter(self._weights)

    def __len__(self) -> int:
        """How many weights there are."""
        return len(self._weights)
