"""The searches of one encoder-decoder bundle: checked ids in, batches, target ids out.

Greedy search is loaded at once, beam search by the first call that asks for it: an app that never does holds no second
decoder in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import onnxruntime as ort

from edgekit.bundle.generation import Generation
from edgekit.bundle.read import Bundle
from edgekit.errors import BundleError, InputError
from edgekit.runtime.arguments import token_ids
from edgekit.runtime.batching import batch_by_tokens
from edgekit.runtime.beam import BeamSearch
from edgekit.runtime.beam_scores import BeamSettings, ScoredIds
from edgekit.runtime.encoding import Encoder
from edgekit.runtime.greedy import GreedySearch
from edgekit.runtime.memory import LoadedSessions
from edgekit.runtime.session import create_session
from edgekit.runtime.shortlist import load_shortlist

# A few sentences of usual length.
LOW_MEMORY_BATCH_TOKENS = 128
# Finds what greedy search does.
ONE_BEAM = BeamSettings(1, length_penalty=1.0, early_stopping=True)


class Seq2SeqSearch:
    """Greedy and beam search over sentences of any number; any number of threads may search at once."""

    def __init__(self, bundle: Bundle, threads: int | None, low_memory: bool = False) -> None:
        """Loads the graphs of greedy search.

        Args:
            bundle: an opened one.
            threads: threads that one product may use; None for the measured default.
            low_memory: sessions keep no memory between runs, a batch has at most `LOW_MEMORY_BATCH_TOKENS`, and the
                decoders of greedy and of beam search are never held at the same time.

        Raises:
            BundleError: a file of the bundle can't be loaded.
            InputError: ``threads`` is below 1.
        """
        manifest = bundle.manifest
        assert isinstance(manifest.generation, Generation)
        self._generation, self._manifest = manifest.generation, manifest
        self._bundle, self._threads, self._low_memory = bundle, threads, low_memory
        self.loaded = LoadedSessions()
        self._encoder = Encoder(manifest, self._load("encoder"), load_shortlist(bundle.file, manifest))
        self._loading = threading.Lock()
        self._greedy_search: GreedySearch | None = None
        self._beam_search: BeamSearch | None = None
        self.load_greedy_search()

    def greedy(
        self,
        input_ids: Sequence[Sequence[int]],
        batch_tokens: int,
        max_length: int | None,
        start_ids: Sequence[int] | None = None,
    ) -> list[list[int]]:
        """Target ids of each sentence, without EOS and ``start_ids`` (None for the manifest's).

        Raises:
            InputError: ids are none that the model takes.
            BundleError: the model's settings forbid repetitions or an early end, which takes the decoder of beam
                search, and the bundle has none.
        """
        if self._generation.has_rules:
            found_best = self.beams(input_ids, ONE_BEAM, batch_tokens, max_length, start_ids)
            return [hypotheses[0].ids for hypotheses in found_best]
        rows = self._checked(input_ids)
        search = self.load_greedy_search()
        results: list[list[int]] = [[] for _ in rows]
        for batch in batch_by_tokens([len(row) for row in rows], self._most(batch_tokens)):
            found = search.search([rows[i] for i in batch], max_length, start_ids)
            for index, ids in zip(batch, found, strict=True):
                results[index] = ids
        return results

    def beams(
        self,
        input_ids: Sequence[Sequence[int]],
        settings: BeamSettings,
        batch_tokens: int,
        max_length: int | None,
        start_ids: Sequence[int] | None = None,
    ) -> list[list[ScoredIds]]:
        """Hypotheses of each sentence, best first.

        Raises:
            InputError: ids are none that the model takes, or there are more beams than target ids.
            BundleError: the bundle has no decoder for beam search.
        """
        rows = self._checked(input_ids)
        search = self.load_beam_search()
        results: list[list[ScoredIds]] = [[] for _ in rows]
        # A beam shares what its sentence has the most of, the encoder's part: it counts half.
        lengths = [len(row) * max(1, settings.beams // 2) for row in rows]
        for batch in batch_by_tokens(lengths, self._most(batch_tokens)):
            found = search.search([rows[i] for i in batch], settings, max_length, start_ids)
            for index, hypotheses in zip(batch, found, strict=True):
                results[index] = hypotheses
        return results

    @property
    def has_beam_search(self) -> bool:
        """Whether the decoder of beam search is loaded."""
        return self._beam_search is not None

    def load_greedy_search(self) -> GreedySearch:
        """Greedy search; with little memory beam search makes room for it."""
        with self._loading:
            if self._greedy_search is None:
                self._beam_search = None
                self.loaded.forget("beam_decoder")
                encoder, decoder = self._encoder, self._load("decoder")
                self._greedy_search = GreedySearch(self._manifest, encoder.session, decoder, encoder.shortlist)
            return self._greedy_search

    def load_beam_search(self) -> BeamSearch:
        """Beam search, its decoder loaded by the first call; raises `BundleError` if the bundle has none."""
        with self._loading:
            if self._beam_search is None:
                if "beam_decoder" not in self._manifest.graphs:
                    raise BundleError(
                        f"{self._bundle.path}: this bundle has no decoder for beam search; export the model again, or "
                        "translate with one beam"
                    )
                if self._low_memory:
                    self._greedy_search = None
                    self.loaded.forget("decoder")
                self._beam_search = BeamSearch(self._manifest, self._encoder, self._load("beam_decoder"))
            return self._beam_search

    def _load(self, graph: str) -> ort.InferenceSession:
        file = self._bundle.file(self._manifest.graphs[graph].file)
        with self.loaded.measure(graph):
            return create_session(file, self._threads, low_memory=self._low_memory)

    def _most(self, batch_tokens: int) -> int:
        return min(batch_tokens, LOW_MEMORY_BATCH_TOKENS) if self._low_memory else batch_tokens

    def _checked(self, input_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        rows = token_ids(input_ids)
        longest, vocabulary = self._generation.max_source_tokens, self._manifest.tokenizer.source_vocab_size
        for index, row in enumerate(rows):
            if not 0 < len(row) <= longest:
                raise InputError(f"sentence {index} has {len(row)} ids; this model takes 1 to {longest}, EOS included")
            if min(row) < 0 or max(row) >= vocabulary:
                raise InputError(f"sentence {index} has ids outside the vocabulary, 0 to {vocabulary - 1}")
        return rows
