"""The runtime that other apps embed: onnxruntime, numpy and tokenizers, nothing else (and jinja2 for a chat).

Reading order of translation: `translator` (text in, text out), `translation_options`, `documents`, `sentences`,
`segment`, `seq2seq_search`, `greedy` and `beam` (the loops), `beam_scores`, `encoding`, `batching`, `shortlist`,
`tokenizer`; `pivot` makes one translator of two. Of text generation: `text_generator`, `causal_search` (the loop),
`state_buffers`, `prefix_cache`, `sampling`, `hub_tokenizer`, `token_stream`, `chat_template`. Both share `session`,
`cancellation`, `memory` and `asynchronous`. State and names come from the bundle's manifest: the loops know no
architecture.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import InputError
from edgekit.runtime.cancellation import Cancellation
from edgekit.runtime.memory import Memory
from edgekit.runtime.pivot import PivotTranslator, pivot
from edgekit.runtime.translator import Hypothesis, Translator

if TYPE_CHECKING:
    from edgekit.runtime.text_generator import TextGenerator

__all__ = ["Cancellation", "Hypothesis", "Memory", "PivotTranslator", "TextGenerator", "Translator", "load", "pivot"]


def load(
    model: str | os.PathLike[str], threads: int | None = None, *, low_memory: bool = False
) -> Translator | TextGenerator:
    """Loads an exported model; see `edgekit.load`."""
    from edgekit.bundle.read import open_bundle
    from edgekit.cache import find_bundle

    bundle = open_bundle(find_bundle(Path(model)))
    if bundle.manifest.kind == "causal-lm":
        from edgekit.runtime.text_generator import TextGenerator

        if low_memory:
            raise InputError(f"low_memory is for translation models; {bundle.path} generates text: leave it out")
        return TextGenerator(bundle, threads)
    return Translator(bundle, threads, low_memory=low_memory)


def __getattr__(name: str) -> Any:
    # tokenizers is imported by those who generate text only.
    if name == "TextGenerator":
        from edgekit.runtime.text_generator import TextGenerator

        return TextGenerator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
