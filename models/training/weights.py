"""All weights of a network in one float32 array, with a copy in the type of the products and their gradients.

One array makes the optimiser, the average and a checkpoint a handful of operations. Order: the embedding, vectors
(biases, norms), matrices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

EMBEDDING = "embedding"


@dataclass(frozen=True)
class Spec:
    """A weight: its shape, and how it starts.

    Attributes:
        shape: As torch's linear layers have it, [out, in].
        start: The standard deviation of a matrix's normal start; the constant that a vector starts with.
        parts: Matrices that are one above the other here and separate in the published model.
    """

    shape: tuple[int, ...]
    start: float
    parts: int = 1


class Weights:
    """The arrays and their named views.

    Attributes:
        master: float32 [all weights], what is optimised.
        leaves: Named views of the copy that a step computes with; they collect gradients in `gradient`.
        gradient: Of all but the embedding, in the type of the copy.
        embedding_gradient: float32 [ids, width].
    """

    def __init__(self, specs: Mapping[str, Spec], dtype: torch.dtype, device: torch.device, seed: int = 0) -> None:
        order = [EMBEDDING, *(n for n, s in specs.items() if len(s.shape) == 1)]
        self.vectors_end = sum(math.prod(specs[name].shape) for name in order)
        order += [name for name in specs if name not in order]
        self.specs = {name: specs[name] for name in order}
        sizes = [math.prod(spec.shape) for spec in self.specs.values()]
        self.spans: dict[str, slice] = {}
        for name, size in zip(order, sizes, strict=True):
            start = self.spans[next(reversed(self.spans))].stop if self.spans else 0
            self.spans[name] = slice(start, start + size)
        generator = torch.Generator().manual_seed(seed)
        self.master = torch.cat([_start(spec, generator).flatten() for spec in self.specs.values()]).to(device)
        self._copy = torch.empty_like(self.master, dtype=dtype)
        self.gradient = torch.zeros_like(self._copy)
        self.embedding_gradient = torch.zeros(specs[EMBEDDING].shape, device=device)
        self.leaves = self._views(self._copy)
        for name, view in self._views(self.gradient).items():
            self.leaves[name].requires_grad_(name != EMBEDDING)
            self.leaves[name].grad = view if name != EMBEDDING else None
        self.refresh(self.master)

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        return {name: flat[self.spans[name]].view(spec.shape) for name, spec in self.specs.items()}

    def refresh(self, source: Tensor) -> None:
        """Makes `leaves` hold a float32 array like `master`."""
        with torch.no_grad():
            self._copy.copy_(source)

    def zero_gradients(self) -> None:
        """Before a step."""
        self.gradient.zero_()
        self.embedding_gradient.zero_()

    def vector_gradient(self) -> Tensor:
        """float32, of the embedding and the vectors: the first `vectors_end` weights."""
        size = self.spans[EMBEDDING].stop
        return torch.cat([self.embedding_gradient.view(-1), self.gradient[size : self.vectors_end].float()])

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """The views of an array like `master`, by name."""
        return self._views(flat)


def _start(spec: Spec, generator: torch.Generator) -> Tensor:
    if len(spec.shape) == 1:
        return torch.full(spec.shape, spec.start)
    return torch.randn(spec.shape, generator=generator) * spec.start
