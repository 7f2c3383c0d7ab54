"""Weights that are calculated one by one, so that a model is never in memory twice.

In: for each weight by its name, what calculates it. Out: a mapping that does so anew at every access and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from edgekit.graph.tensors import Tensor


class LazyWeights(Mapping[str, Tensor]):
    """Weights by name, calculated when they are asked for."""

    def __init__(self, calculate: Mapping[str, Callable[[], Tensor]]) -> None:
        """Takes what calculates each weight."""
        self._calculate = calculate

    def __getitem__(self, name: str) -> Tensor:
        """One weight."""
        return self._calculate[name]()

    def __contains__(self, name: object) -> bool:
        """Whether there is such a weight, without calculating it."""
        return name in self._calculate

    def __iter__(self) -> Iterator[str]:
        """The names, in their order."""
        return iter(self._calculate)

    def __len__(self) -> int:
        """How many weights there are."""
        return len(self._calculate)
