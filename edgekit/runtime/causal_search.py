"""Text generation over a decoder-only bundle's graph: each prompt is read once, then one step a token for all of them.

The graph serves both (its inputs and outputs are in `edgekit.graph.causal_lm`): a prompt is read alone, in chunks, into
its slot of the state's buffers, whatever its length; the steps run all slots together. A text that has ended leaves at
once, and a waiting prompt takes its place. Everything is bound in place: a step allocates nothing.

In: prompts as ids. Out: ids, one by one. State comes from the manifest, so no architecture is known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort

from edgekit.bundle.generation import TextGeneration
from edgekit.bundle.manifest import Manifest
from edgekit.runtime.forward_pass import ForwardPass
from edgekit.runtime.prefix_cache import PrefixCache
from edgekit.runtime.prompt_lookup import MOST_DRAFTED, PromptLookup, runs_agree
from edgekit.runtime.sampling import Sampler
from edgekit.runtime.state_buffers import StateBuffers, bytes_per_token

# Tokens of a prompt that run together. Attention weighs each of them against all before it, in every head at once, so
# the memory that a long prompt takes is this times its length.
CHUNK_TOKENS = 256
# Attention may add in another order for one query than for several. Prompts run at least two tokens at once, so what is
# calculated for a token does not depend, bit for bit, on how its prompt is cut.
FEWEST_TOKENS = 2
# Texts whose steps run together, and tokens that all their buffers may hold.
MOST_ROWS, MOST_TOKENS = 16, 16384
# Room for so many new tokens at first; buffers that are too small double.
FIRST_ROOM = 256


@dataclass(eq=False)
class Row:
    """One text: its prompt, and what has been generated.

    Attributes:
        prompt: ids, at least one.
        limit: most new tokens.
        sampler: chooses tokens from logits; None for the graph's own ArgMax.
        ends_at_eos: whether EOS ends it; else EOS is a token like others, and only the limit does.
        drafted: whether its repetitions are drafted, if it runs alone (`edgekit.runtime.prompt_lookup`).
        ids: the new tokens, an EOS that ended them not among them.
        done: set when EOS or the limit is met; a caller who wants no more sets it too.
    """

    prompt: list[int]
    limit: int
    sampler: Sampler | None = None
    ends_at_eos: bool = True
    drafted: bool = False
    ids: list[int] = field(default_factory=list)
    done: bool = False

    @property
    def longest(self) -> int:
        """Most tokens that it can become; the last one chosen is never fed to the graph."""
        return len(self.prompt) + self.limit


def chunks(start: int, end: int) -> Iterator[range]:
    """Cuts the tokens of a prompt into runs of at most `CHUNK_TOKENS` and, if it has that many, `FEWEST_TOKENS`."""
    while start < end:
        stop = min(start + CHUNK_TOKENS, end)
        if 0 < end - stop < FEWEST_TOKENS:
            stop = end - FEWEST_TOKENS
        yield range(start, stop)
        start = stop


class CausalSearch:
    """Runs texts through one session; holds no state between calls but the prefix cache."""

    def __init__(self, manifest: Manifest, session: ort.InferenceSession, prefixes: PrefixCache) -> None:
        """Takes a loaded session that `edgekit.runtime.ports.check_causal_ports` accepted; threads may share it.

        Args:
            manifest: the bundle's.
            session: of its graph.
            prefixes: what earlier prompts have left, and later ones will find.
        """
        assert isinstance(manifest.generation, TextGeneration)
        self.states = manifest.state
        self.vocabulary = manifest.tokenizer.source_vocab_size
        self.session, self.prefixes = session, prefixes
        # None until a first draft shows whether this CPU's kernels allow it.
        self.drafts: bool | None = None
        self._eos = frozenset(manifest.generation.eos_token_ids)

    def run(self, rows: Sequence[Row]) -> Generator[Row, None, None]:
        """Generates all rows; gives a row back each time that it has got one more id.

        Closing the iterator frees the buffers. All rows have a sampler or none has.
        """
        waiting = deque(rows)
        if not waiting:
            return
        batch = _Batch(self, rows)
        while waiting or batch.rows:
            while waiting and len(batch.rows) < batch.slots:
                row = waiting.popleft()
                yield from self._extend(row, [batch.admit(row)])
                batch.drop_done()
            if batch.rows:
                for row, token_ids in zip(list(batch.rows), batch.step(), strict=True):
                    yield from self._extend(row, token_ids)
                batch.drop_done()

    def _extend(self, row: Row, token_ids: Sequence[int]) -> Iterator[Row]:
        for token_id in token_ids:
            if row.ends_at_eos and token_id in self._eos:
                row.done = True
            if row.done:
                return
            row.ids.append(token_id)
            yield row
            row.done = row.done or len(row.ids) >= row.limit


class _Batch:
    """The rows that run together, each in the slot of its index, and the arrays bound for their next step."""

    def __init__(self, search: CausalSearch, rows: Sequence[Row]) -> None:
        """Makes room for ``rows``, or for as many at once as memory is meant for."""
        self._search = search
        self._longest = max(row.longest for row in rows)
        self.slots = min(len(rows), MOST_ROWS, max(1, MOST_TOKENS // self._longest))
        self.rows: list[Row] = []
        self._samples = rows[0].sampler is not None
        capacity = min(self._longest, max(len(row.prompt) for row in rows) + FIRST_ROOM)
        self._state = StateBuffers(search.states, self.slots, capacity)
        self._lengths = np.zeros(self.slots, np.int32)
        self._steps: dict[int, _Step] = {}  # bound for as many tokens of each row
        drafted = len(rows) == 1 and rows[0].drafted and not self._samples
        self._lookup = PromptLookup(rows[0].prompt) if drafted else None

    def admit(self, row: Row) -> int:
        """Reads a row's prompt into a free slot; the id that follows it."""
        slot, ids = len(self.rows), row.prompt
        known, entries = self._search.prefixes.longest(ids)
        start = min(known, max(len(ids) - FEWEST_TOKENS, 0))
        if start:
            self._state.write(slot, entries, start)
        self.rows.append(row)
        for chunk in chunks(start, len(ids)):
            step = _Step(self._search, self._state, range(slot, slot + 1), len(chunk), samples=self._samples)
            step.forward.input_ids[0] = ids[chunk.start : chunk.stop]
            step.forward.past_lengths[0] = chunk.start
            step.forward.run()
        self._lengths[slot] = len(ids)
        self._steps.clear()
        self._remember(slot, known)
        (chosen,) = step.choose([row])
        if self._lookup is not None:
            self._lookup.extend([chosen])
        return chosen

    def step(self) -> list[list[int]]:
        """Runs all rows by one token, or one row by a draft too: the ids that follow, at least one of each row."""
        draft = self._draft()
        found = self._run(1 + len(draft), [[row.ids[-1], *draft] for row in self.rows])
        if self._lookup is None:
            self._lengths[: len(self.rows)] += 1
            return [[token_id] for token_id in found]
        accepted = 0
        while accepted < len(draft) and draft[accepted] == found[accepted]:
            accepted += 1
        if draft:
            self._lookup.judge(accepted)
        self._lookup.extend(found[: accepted + 1])
        self._lengths[0] += accepted + 1
        return [found[: accepted + 1]]

    def _run(self, tokens: int, input_ids: list[list[int]]) -> list[int]:
        """Runs ``tokens`` ids of each row: what follows each row, or each of a single row's ids."""
        self._make_room(tokens)
        count = len(self.rows)
        step = self._steps.get(tokens)
        if step is None:
            drafted = self._lookup is not None
            step = _Step(self._search, self._state, range(count), tokens, samples=self._samples, drafted=drafted)
            self._steps[tokens] = step
        step.forward.input_ids[:] = input_ids
        step.forward.past_lengths[:] = self._lengths[:count]
        step.forward.run()
        return step.choose(self.rows)

    def _make_room(self, tokens: int) -> None:
        used = int(self._lengths[: len(self.rows)].max())
        # A single token that is calculated as among several takes the room of two.
        needed = used + max(tokens, FEWEST_TOKENS)
        if needed > self._state.capacity:
            self._state.grow(min(max(needed, 2 * self._state.capacity), self._longest), used)
            self._steps.clear()

    def _draft(self) -> list[int]:
        search = self._search
        if self._lookup is None or search.drafts is False:
            return []
        (row,) = self.rows
        most = row.limit - len(row.ids) - 1
        draft = self._lookup.draft(most)
        if draft and search.drafts is None:
            if most < MOST_DRAFTED:
                return []  # no room to find out
            self._make_room(2 + MOST_DRAFTED)
            ids, past = [row.ids[-1], *(draft * MOST_DRAFTED)[:MOST_DRAFTED]], int(self._lengths[0])
            search.drafts = runs_agree(search.session, search.states, self._state, ids, past, search.vocabulary)
        return draft if search.drafts else []

    def drop_done(self) -> None:
        """Takes out the rows that are done; the last row moves into the slot of each."""
        for slot in reversed(range(len(self.rows))):
            if self.rows[slot].done:
                last = self.rows.pop()
                if slot < len(self.rows):
                    self.rows[slot] = last
                    self._lengths[slot] = self._lengths[len(self.rows)]
                    self._state.move(len(self.rows), slot, int(self._lengths[slot]))
                self._steps.clear()

    def _remember(self, slot: int, known: int) -> None:
        """Leaves a prompt to later ones with the same beginning.

        Generated tokens are not left: not every CPU's kernels round for one token as they do for a prompt's many, and a
        text must not depend on what was asked before.
        """
        ids, prefixes = self.rows[slot].prompt, self._search.prefixes
        count = min(len(ids), prefixes.most_tokens(bytes_per_token(self._search.states)))
        if count > known:
            prefixes.add(ids[:count], self._state.read(slot, count))


class _Step:
    """A forward pass that asks what follows the last token of each slot, or each token of one slot."""

    def __init__(
        self,
        search: CausalSearch,
        buffers: StateBuffers,
        slots: range,
        tokens: int,
        *,
        samples: bool,
        drafted: bool = False,
    ) -> None:
        """``samples`` says that the ids are chosen from logits, ``drafted`` that they follow each token of one text."""
        rows = np.arange(tokens) if drafted else np.arange(1, len(slots) + 1) * tokens - 1
        self._next_ids = None if samples else np.empty(len(rows), np.int64)
        self._logits = np.empty((len(rows), search.vocabulary if samples else 0), np.float32)
        self.forward = ForwardPass(
            search.session,
            search.states,
            buffers,
            slots,
            tokens,
            rows,
            ("logits", self._logits) if self._next_ids is None else ("next_ids", self._next_ids),
            as_several=drafted,
        )

    def choose(self, rows: Sequence[Row]) -> list[int]:
        """The ids that follow."""
        if self._next_ids is not None:
            chosen: list[int] = self._next_ids.tolist()
            return chosen
        return [row.sampler.choose(logits) for row, logits in zip(rows, self._logits, strict=True) if row.sampler]
