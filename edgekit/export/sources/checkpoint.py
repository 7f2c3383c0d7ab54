"""A checkpoint whose files lie on this disk: what every source hands to the exporter.

Knows no source and reads no weights. Also here, because every source needs them: the failure after which the next
source may be tried, and the shape of a progress display.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from edgekit.bundle.files import hash_file
from edgekit.errors import SourceError

__all__ = ["Checkpoint", "Progress", "ProgressBar", "UnavailableSourceError", "no_progress", "source_record"]

Kind = Literal["marian", "seq2seq", "bergamot", "causal-lm", "gguf", "onnx", "optimum-seq2seq", "optimum-causal-lm"]
# Encoder-decoders whose texts are not translations: summaries, answers, whatever they were trained for.
TEXT_TO_TEXT_TYPES = ("t5", "mt5", "bart", "pegasus")


class UnavailableSourceError(SourceError):
    """A source that can't be reached or doesn't have the model, so that the next one may be tried.

    A wrong hash, a hostile archive or a broken file is a plain `SourceError` instead: those are never passed over.
    """


@dataclass(frozen=True)
class Checkpoint:
    """A model's files and what is known about them.

    Attributes:
        name: Plain name for the bundle: the recipe's, the hub repository's or the directory's.
        kind: ``marian``, a Hugging Face MarianMT repository; ``seq2seq``, one of another encoder-decoder;
            ``causal-lm``, one of a decoder-only model; ``gguf``, one file with weights and tokenizer; ``bergamot``, a
            Marian binary with SentencePiece models; ``onnx``, graphs that optimum exported; ``optimum-seq2seq`` and
            ``optimum-causal-lm``, a Hugging Face repository that optimum has to export.
        files: Path by role. ``marian`` and ``causal-lm``: ``config``, ``weights`` (``model.safetensors``, the index of
            sharded ones with ``shard_1`` and so on, or ``pytorch_model.bin``), and where present ``generation_config``,
            ``tokenizer_config``, ``special_tokens_map``. ``marian`` also: ``source_spm``, ``target_spm``, ``vocab``,
            and where present ``target_vocab``. ``causal-lm`` also: ``tokenizer``, and where present ``chat_template``.
            ``seq2seq`` also: ``spm``, ``tokenizer``, or ``vocab`` with ``merges``; with ``spm`` perhaps ``vocab``.
            ``gguf``: ``weights``. ``bergamot``: ``weights``, ``source_spm``, ``target_spm`` (the same path if the
            vocabulary is shared), and where present ``shortlist``. ``onnx``: ``config`` and ``tokenizer``, and
            ``encoder``, ``decoder`` and ``decoder_with_past`` or ``model``. ``optimum-*``: whatever there is.
        languages: ``{"source": code or None, "target": code or None}``, as in the manifest.
        license: SPDX identifier or words; None if unknown.
        source: The manifest's ``source``: ``type``, ``id``, ``revision``, ``license``, ``files`` (SHA-256 by name).
        documents: Model card and licence files that came with it.
        model_type: Of a ``seq2seq``, what config.json declares; None of the others.
    """

    name: str
    kind: Kind
    files: Mapping[str, Path]
    languages: Mapping[str, str | None]
    license: str | None
    source: Mapping[str, Any]
    documents: tuple[Path, ...] = ()
    model_type: str | None = None

    @property
    def task(self) -> str:
        """The manifest's ``task``: ``translation``, ``text2text`` or ``text-generation``."""
        if self.model_type in TEXT_TO_TEXT_TYPES:
            return "text2text"
        if self.kind in ("causal-lm", "gguf", "optimum-causal-lm") or "model" in self.files:
            return "text-generation"
        if self.kind in ("onnx", "optimum-seq2seq") and None in self.languages.values():
            return "text2text"
        return "translation"


def source_record(
    source_type: str, source_id: str, revision: str | None, license_name: str | None, files: Mapping[str, Path]
) -> dict[str, Any]:
    """The manifest's ``source`` for a checkpoint's files, each of which is hashed here.

    Args:
        source_type: ``embedded``, ``hub``, ``pypi``, ``registry`` or ``local``.
        source_id: What identifies it there; a local directory's own name, never its path.
        revision: Commit or version; None where there is none.
        license_name: SPDX identifier or words; None if unknown.
        files: Paths by role; one that serves two roles is listed once.

    Raises:
        SourceError: A file cannot be read.
    """
    hashes = {}
    for path in sorted(set(files.values())):
        try:
            hashes[path.name] = hash_file(path)[1]
        except OSError as error:
            raise SourceError(f"{path} can't be read ({error.strerror}); check the directory") from None
    return {"type": source_type, "id": source_id, "revision": revision, "license": license_name, "files": hashes}


class ProgressBar(Protocol):
    """One piece of long work under way."""

    def advance(self, n: float = 1) -> None:
        """Count `n` more units as done."""

    def set_total(self, total: float) -> None:
        """Set the number of units in all, once it is known."""


class Progress(Protocol):
    """Opens a progress display; `edgekit.cli.output.progress` is one."""

    def __call__(
        self, description: str, total: float | None = None, unit: Literal["items", "bytes"] = "items"
    ) -> AbstractContextManager[ProgressBar]:
        """A bar for the time of a ``with`` block."""


class _NoBar:
    def advance(self, n: float = 1) -> None:
        pass

    def set_total(self, total: float) -> None:
        pass


@contextmanager
def no_progress(
    description: str, total: float | None = None, unit: Literal["items", "bytes"] = "items"
) -> Iterator[ProgressBar]:
    """A display that shows nothing."""
    yield _NoBar()
