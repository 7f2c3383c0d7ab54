"""Loads the bundles that `edgekit.bench.text_quality` scores, in this process, and lets go of them afterwards.

In: directories of causal-lm bundles. Out: their ids and logits; a text's ids are without the BOS that a model may begin
with, which every window gets again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.bundle.generation import TextGeneration
from edgekit.runtime import TextGenerator

__all__ = ["LoadedModel", "load_models"]


class LoadedModel:
    """A `TextGenerator` as `edgekit.bench.text_quality.LanguageModel` wants it.

    Attributes:
        bos_token_id: The token that begins every text of this model; None where it begins with none.
    """

    def __init__(self, generator: TextGenerator) -> None:
        generation = generator.manifest.generation
        assert isinstance(generation, TextGeneration)
        self.bos_token_id = generation.bos_token_id if generation.adds_bos else None
        self._generator = generator

    def encode(self, text: str) -> list[int]:
        """The text's ids, without BOS."""
        ids = self._generator.encode(text)
        return ids if self.bos_token_id is None else ids[1:]

    def logits(self, token_ids: Sequence[int], first: int) -> npt.NDArray[np.float32]:
        """Logits of what follows each id from ``first`` on: ``[len(token_ids) - first, vocabulary]``."""
        return self._generator.logits(token_ids, first)


@contextmanager
def load_models(bundles: Sequence[Path], threads: int) -> Iterator[list[LoadedModel]]:
    """All the bundles, loaded for the time of the ``with`` block.

    Raises:
        BundleError: One of them cannot be loaded.
    """
    with ExitStack() as stack:
        # Texts are scored from buffers of their own, so there is nothing to remember.
        generators = [TextGenerator.load(bundle, threads, prefix_cache_bytes=0) for bundle in bundles]
        yield [LoadedModel(stack.enter_context(generator)) for generator in generators]
