"""The runtime that other apps embed: onnxruntime, numpy and tokenizers, nothing else.

Reading order: `translator` (text in, text out), `greedy` (the loop), `batching`, `shortlist`, `segment`, `session`,
`tokenizer`. State and names come from the bundle's manifest, so the loop knows no architecture.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgekit.runtime.translator import Translator

__all__ = ["Translator", "load"]


def load(model: str | os.PathLike[str], threads: int | None = None) -> Translator:
    """Loads an exported model; see `edgekit.load`."""
    from edgekit.bundle.read import open_bundle
    from edgekit.cache import find_bundle

    return Translator(open_bundle(find_bundle(Path(model))), threads)
