"""A lexical shortlist: the few hundred target ids that a source sentence can plausibly need.

The output layer is then calculated for those rows only (Bergamot's technique). A batch shares the rows of all its
sentences, but each sentence may choose only among its own, so its translation does not depend on its neighbours.

In: ``shortlist.npz`` with ``offsets`` (unsigned ``[source_vocab_size + 1]``) and ``target_ids`` (unsigned ``[n]``):
source id ``w`` suggests ``target_ids[offsets[w]:offsets[w + 1]]``. The ids below ``first`` are always candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle.manifest import Manifest
from edgekit.bundle.single_file import PackedFile
from edgekit.errors import BundleError

NOT_LISTED = np.float32(-1e9)


class Shortlist:
    """Candidate target ids by source id."""

    def __init__(self, offsets: NDArray[np.integer], target_ids: NDArray[np.integer], first: int) -> None:
        """Takes the arrays described above; `load` checks what a file holds."""
        self._offsets, self._target_ids, self._always = offsets, target_ids, np.arange(first)

    @classmethod
    def load(cls, path: Path | PackedFile, *, first: int, source_vocab_size: int, target_vocab_size: int) -> Shortlist:
        """Reads ``shortlist.npz``; raises `BundleError` if it is damaged or doesn't fit the vocabularies."""
        import zipfile  # only for models that have a shortlist

        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                # Stored as they are, arrays are no larger than the file; deflated, they may be of any size.
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise ValueError("it is compressed")
                file.seek(0)
                arrays = np.load(file, allow_pickle=False)
                offsets, target_ids = arrays["offsets"], arrays["target_ids"]
        except Exception as error:  # a damaged zip or array fails in many ways
            raise BundleError(f"{path}: not a readable shortlist ({error}); export the model again") from None
        fits = (
            offsets.dtype.kind in "ui"
            and target_ids.dtype.kind in "ui"
            and offsets.shape == (source_vocab_size + 1,)
            and target_ids.ndim == 1
            and offsets[0] == 0
            and offsets[-1] == target_ids.size
            and bool((offsets[:-1] <= offsets[1:]).all())
            and (target_ids.size == 0 or (target_ids.min() >= 0 and target_ids.max() < target_vocab_size))
            and 0 < first <= target_vocab_size
        )
        if not fits:
            raise BundleError(f"{path}: the shortlist does not fit the model's vocabularies; export the model again")
        return cls(offsets.astype(np.int64), target_ids.astype(np.int64), first)

    def candidates(self, source_ids: Sequence[int]) -> NDArray[np.int64]:
        """The target ids for one sentence, ascending, ``int64 [n]``."""
        listed = [self._target_ids[self._offsets[i] : self._offsets[i + 1]] for i in set(source_ids)]
        return np.unique(np.concatenate([self._always, *listed]))

    def for_batch(self, rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """What any row may use, ``int64 [n]`` ascending, and ``float32 [rows, n]``: 0 for a row's own, else -1e9."""
        own = [self.candidates(row) for row in rows]
        if len(own) == 1:
            return own[0], np.zeros((1, own[0].size), np.float32)
        shared = np.unique(np.concatenate(own))
        bias = np.full((len(own), shared.size), NOT_LISTED, np.float32)
        for row, ids in enumerate(own):
            bias[row, np.searchsorted(shared, ids)] = 0
        return shared, bias


def load_shortlist(file: Callable[[str], Path | PackedFile], manifest: Manifest) -> Shortlist | None:
    """The shortlist of a bundle, or None if it has none; ``file`` opens its files by name.

    Raises:
        BundleError: It is damaged.
    """
    if manifest.shortlist is None:
        return None
    return Shortlist.load(
        file(manifest.shortlist.file),
        first=manifest.shortlist.first,
        source_vocab_size=manifest.tokenizer.source_vocab_size,
        target_vocab_size=manifest.tokenizer.target_vocab_size,
    )
