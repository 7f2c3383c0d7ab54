"""The encoder's part of every search: a batch of source ids to what the decoder is fed at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgekit.bundle.generation import Generation
from edgekit.bundle.manifest import Manifest
from edgekit.runtime.batching import pad
from edgekit.runtime.session import run_graph
from edgekit.runtime.shortlist import Shortlist

# A short source may need more than its share: "USA" is one word and five in some languages.
SHORTEST_LIMIT = 16


@dataclass(frozen=True)
class Encoded:
    """One batch, encoded.

    Attributes:
        constants: the encoder's outputs by name, in onnxruntime's memory.
        shared: arrays that all rows share, by the name of the decoder's input (the shortlist's ids).
        mask: int32 ``[batch, source_length]``, 1 for a token.
    """

    constants: dict[str, ort.OrtValue]
    shared: dict[str, NDArray[Any]]
    mask: NDArray[np.int32]


class Encoder:
    """An encoder session with the shortlist of its bundle, shared by the searches."""

    def __init__(self, manifest: Manifest, session: ort.InferenceSession, shortlist: Shortlist | None) -> None:
        """Takes a loaded session; holds no state between calls."""
        generation = manifest.generation
        assert isinstance(generation, Generation)
        self._pad_id = generation.eos_token_id if generation.pad_token_id is None else generation.pad_token_id
        self._outputs = [port.name for port in manifest.graphs["encoder"].outputs]
        self.session, self.shortlist = session, shortlist

    def encode(self, rows: Sequence[Sequence[int]]) -> Encoded:
        """Encodes source ids, EOS included, none empty."""
        ids, mask = pad(rows, self._pad_id)
        feeds: dict[str, NDArray[Any]] = {"input_ids": ids, "attention_mask": mask}
        shared: dict[str, NDArray[Any]] = {}
        if self.shortlist is not None:
            shortlist, bias = self.shortlist.for_batch(rows)
            feeds |= {"shortlist": shortlist, "shortlist_bias": bias}
            shared["shortlist"] = shortlist
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
        outputs = run_graph(self.session.run_with_ort_values, self._outputs, values)
        return Encoded(dict(zip(self._outputs, outputs, strict=True)), shared, mask)


def length_limit(generation: Generation, source_length: int, max_length: int | None) -> int:
    """Most tokens that ``source_length`` ids may become; ``max_length`` overrides the relative limit."""
    if max_length is not None:
        return min(max_length, generation.max_length)
    return min(generation.max_length, max(SHORTEST_LIMIT, int(generation.max_length_factor * source_length)))
