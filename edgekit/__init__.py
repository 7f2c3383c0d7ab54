"""edgekit: small translation and language models on CPUs, exported to ONNX, quantised, run and measured.

`load` opens a bundle and gives a translator or a text generator. Importing this module imports nothing but the standard
library; onnxruntime, numpy and tokenizers come with the first `load`. Nothing here downloads, exports or prints.
onnxruntime's telemetry is off unless the environment asks for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.runtime import PivotTranslator, TextGenerator, Translator

__all__ = ["__version__", "load", "pivot"]

__version__ = "0.1.0"

# The official builds of onnxruntime send usage data, and keep an id of the user's in the home directory, unless this is
# set before onnxruntime is imported. Who wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def load(
    path_or_name: str | os.PathLike[str], threads: int | None = None, *, low_memory: bool = False
) -> Translator | TextGenerator:
    """What runs an exported bundle; `Translator.load` and `TextGenerator.load` of `edgekit.runtime` take one kind only.

    Args:
        path_or_name: A bundle's directory, a packed bundle, or the name of a recipe whose bundle has been exported.
        threads: Threads for one inference, at least 1; None takes the measured default.
        low_memory: Of a translation model: hold less memory and be slower in bulk; see `edgekit.runtime.Translator`.

    Returns:
        A thread-safe `edgekit.runtime.Translator` for a seq2seq bundle, an `edgekit.runtime.TextGenerator` for others.

    Raises:
        edgekit.errors.ModelNotFoundError: There is no such bundle. Nothing is downloaded or exported here.
        edgekit.errors.BundleError: The bundle is damaged or of an unknown schema version.
        edgekit.errors.InputError: ``threads`` is below 1, or ``low_memory`` is asked of a text generator.
    """
    from edgekit.runtime import load as load_model

    return load_model(path_or_name, threads=threads, low_memory=low_memory)


def pivot(first: Translator, second: Translator) -> PivotTranslator:
    """One translator made of two, as from Portuguese to German by way of English.

    Args:
        first: From the source language to the pivot.
        second: From the pivot to the target language.

    Raises:
        edgekit.errors.InputError: One is no translator, or the second translates from another language than the first
            one's target.
    """
    from edgekit.runtime import pivot as pivot_translators

    return pivot_translators(first, second)
