"""The searches of one encoder-decoder bundle: checked ids in, batches, target ids out.

Greedy search is loaded at once, beam search by the first call that asks for it: an app that never does holds no second
decoder in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from edgekit.bundle.generation import Generation
from edgekit.bundle.read import Bundle
from edgekit.errors import BundleError, InputError
from edgekit.runtime.arguments import token_ids
from edgekit.runtime.batching import batch_by_tokens
from edgekit.runtime.beam import BeamSearch
from edgekit.runtime.beam_scores import BeamSettings, ScoredIds
from edgekit.runtime.greedy import GreedySearch
from edgekit.runtime.memory import LoadedSessions
from edgekit.runtime.session import create_session
from edgekit.runtime.shortlist import load_shortlist


class Seq2SeqSearch:
    """Greedy and beam search over sentences of any number; any number of threads may search at once."""

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        """Loads the graphs of greedy search.

        Raises:
            BundleError: a file of the bundle can't be loaded.
            InputError: ``threads`` is below 1.
        """
        manifest = bundle.manifest
        assert isinstance(manifest.generation, Generation)
        self._generation, self._manifest = manifest.generation, manifest
        self._bundle, self._threads = bundle, threads
        self.loaded = LoadedSessions()
        with self.loaded.measure():
            encoder = create_session(bundle.file(manifest.graphs["encoder"].file), threads)
            decoder = create_session(bundle.file(manifest.graphs["decoder"].file), threads)
        self.greedy_search = GreedySearch(manifest, encoder, decoder, load_shortlist(bundle.file, manifest))
        self._beam_search: BeamSearch | None = None
        self._loading = threading.Lock()

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
        """
        rows = self._checked(input_ids)
        results: list[list[int]] = [[] for _ in rows]
        for batch in batch_by_tokens([len(row) for row in rows], batch_tokens):
            found = self.greedy_search.search([rows[i] for i in batch], max_length, start_ids)
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
        for batch in batch_by_tokens(lengths, batch_tokens):
            found = search.search([rows[i] for i in batch], settings, max_length, start_ids)
            for index, hypotheses in zip(batch, found, strict=True):
                results[index] = hypotheses
        return results

    @property
    def has_beam_search(self) -> bool:
        """Whether the decoder of beam search is loaded."""
        return self._beam_search is not None

    def load_beam_search(self) -> BeamSearch:
        """Beam search, its decoder loaded by the first call; raises `BundleError` if the bundle has none."""
        with self._loading:
            if self._beam_search is None:
                graph = self._manifest.graphs.get("beam_decoder")
                if graph is None:
                    raise BundleError(
                        f"{self._bundle.path}: this bundle has no decoder for beam search; export the model again, or "
                        "translate with one beam"
                    )
                with self.loaded.measure():
                    session = create_session(self._bundle.file(graph.file), self._threads)
                self._beam_search = BeamSearch(self._manifest, self.greedy_search.encoder, session)
            return self._beam_search

    def _checked(self, input_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        rows = token_ids(input_ids)
        longest, vocabulary = self._generation.max_source_tokens, self._manifest.tokenizer.source_vocab_size
        for index, row in enumerate(rows):
            if not 0 < len(row) <= longest:
                raise InputError(f"sentence {index} has {len(row)} ids; this model takes 1 to {longest}, EOS included")
            if min(row) < 0 or max(row) >= vocabulary:
                raise InputError(f"sentence {index} has ids outside the vocabulary, 0 to {vocabulary - 1}")
        return rows
