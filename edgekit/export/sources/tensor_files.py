"""The tensors of a Hugging Face checkpoint, whatever they are stored in: one safetensors file, several, or a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekit.export.sources.safetensors_file import read_safetensors, read_shards
from edgekit.export.sources.torch_checkpoint import read_torch_checkpoint

__all__ = ["read_tensors"]


def read_tensors(files: Mapping[str, Path]) -> Mapping[str, np.ndarray]:
    """Arrays by name, read-only, mapped from the disk as far as their types allow.

    Args:
        files: A `Checkpoint`'s: ``weights``, and ``shard_1`` and so on if that is an index.

    Raises:
        SourceError: A file is damaged, or an index and its files don't fit each other.
        UnsupportedError: Element types that are not read.
    """
    weights = files["weights"]
    if weights.suffix == ".json":
        return read_shards(weights, [path for role, path in files.items() if role.startswith("shard_")])
    return read_safetensors(weights) if weights.suffix == ".safetensors" else read_torch_checkpoint(weights)
