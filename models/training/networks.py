"""What the two networks share: sizes, batches, the loss, and how weights start.

`models.training.seq2seq` and `models.training.decoder_only` are the networks. They compute what transformers' MarianMT
and Llama do; `models.training.publish` writes their weights as such, and the tests compare results.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from models.training.layers import Dropout, cross_entropy, embed, smoothed_cross_entropy
from models.training.weights import EMBEDDING, Spec, Weights

SEQ2SEQ, DECODER_ONLY = "marian-en-de", "lm-en-de"
MOST_POSITIONS = 256


@dataclass(frozen=True)
class Sizes:
    """Of a network; `encoder_layers` is 0 for the decoder-only one."""

    vocabulary: int = 8000
    width: int = 256
    inner: int = 1024
    heads: int = 4
    encoder_layers: int = 6
    decoder_layers: int = 2

    def as_dict(self) -> dict[str, int]:
        """For checkpoints."""
        return asdict(self)


# About the same number of weights: 8.89 and 8.87 million.
DEFAULT_SIZES = {SEQ2SEQ: Sizes(), DECODER_ONLY: Sizes(inner=768, encoder_layers=0, decoder_layers=8)}


@dataclass(frozen=True)
class Ids:
    """The special ids of a vocabulary."""

    pad: int
    separator: int


@dataclass(frozen=True)
class Batch:
    """Pairs, padded.

    Attributes:
        source: int64 [pairs, longest source], each ending in ``</s>``, then ``<pad>``.
        target: int64 [pairs, longest target], likewise.
        source_lengths: int64 [pairs], with ``</s>``.
        target_lengths: int64 [pairs], with ``</s>``.
    """

    source: Tensor
    target: Tensor
    source_lengths: Tensor
    target_lengths: Tensor


class Network(ABC):
    """A network with its weights.

    Attributes:
        sizes: Of the network.
        ids: Of the vocabulary.
        weights: All of them.
        dropout: Off at first; to be seeded before a step.
    """

    def __init__(
        self, sizes: Sizes, ids: Ids, specs: Mapping[str, Spec], dtype: torch.dtype, device: torch.device, seed: int
    ) -> None:
        """`specs` are of the weights; `dtype` is that of the products."""
        self.sizes, self.ids = sizes, ids
        self.weights = Weights(specs, dtype, device, seed)
        self.dropout = Dropout(dtype, device, seed)
        self._anchor = torch.zeros((), device=device, requires_grad=True)

    @property
    def embedding(self) -> Tensor:
        """``[vocabulary, width]``."""
        return self.weights.leaves[EMBEDDING]

    def embed(self, ids: Tensor) -> Tensor:
        """Rows of the embedding."""
        return embed(self._anchor, self.embedding, ids, self.weights.embedding_gradient)

    @abstractmethod
    def predictions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The hidden state before every piece of the targets ``[pieces, width]``, and those pieces ``[pieces]``."""

    @abstractmethod
    def last_hidden(self, batch: Batch) -> Tensor:
        """``[pairs, width]``: what predicts the piece after each target; all of one length, without ``</s>``."""

    def loss(self, batch: Batch) -> Tensor:
        """Plain loss in nats a target piece, with the gradients of the label-smoothed one."""
        hidden, labels = self.predictions(batch)
        return smoothed_cross_entropy(hidden, self.embedding, labels, self.weights.embedding_gradient)

    @torch.no_grad()
    def nats(self, batch: Batch) -> float:
        """Summed plain cross entropy of the targets, without gradients."""
        hidden, labels = self.predictions(batch)
        return float(cross_entropy(hidden, self.embedding, labels))

    @torch.no_grad()
    def next_logits(self, batch: Batch) -> Tensor:
        """float32 [pairs, vocabulary], of the piece after each target."""
        return (self.last_hidden(batch) @ self.embedding.T).float()


def linear_specs(
    name: str, out: int, width: int, parts: int = 1, gain: float = 1.0, bias: bool = True
) -> dict[str, Spec]:
    """A linear layer of `parts` matrices, each started as Xavier's times `gain`."""
    specs = {f"{name}.weight": Spec((out, width), gain * math.sqrt(2.0 / (out // parts + width)), parts)}
    return specs | ({f"{name}.bias": Spec((out,), 0.0)} if bias else {})


def norm_specs(name: str, width: int, bias: bool = True) -> dict[str, Spec]:
    """A norm's weight and bias."""
    weight = {f"{name}.weight": Spec((width,), 1.0)}
    return weight | ({f"{name}.bias": Spec((width,), 0.0)} if bias else {})
