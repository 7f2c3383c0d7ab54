"""Greedy search with a network in training, and its scores on held-out pairs: for the learning curve only.

Without a cache of keys and values: a few hundred short sentences now and then. Published models are scored by
`models.training.evaluate`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from sacrebleu.metrics.chrf import CHRF

from models.training.batches import make_batch
from models.training.decontaminate import read_lines
from models.training.networks import Network
from models.training.vocabulary import EOS_ID, Vocabulary

EVERYDAY = ("tatoeba", "chat")
NATS_PAIRS = 400  # of each kind
CHRF_PAIRS = 200  # the first, short enough, three in four everyday
MOST_PIECES = 40


class DevelopmentSet:
    """A fixed sample of the validation set (source, target, domain)."""

    def __init__(self, lines: list[list[str]], vocabulary: Vocabulary, device: torch.device) -> None:
        self._vocabulary, self._device = vocabulary, device
        self._sample: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
        for source, target, domain in lines:
            pieces = max(len(vocabulary.encode(source)), len(vocabulary.encode(target)))
            rows = self._sample[domain in EVERYDAY]
            if pieces <= MOST_PIECES and len(rows) < NATS_PAIRS:
                rows.append((source, target))

    @classmethod
    def open(cls, work: Path, vocabulary: Vocabulary, device: torch.device) -> DevelopmentSet:
        """The validation set that `prepare` wrote."""
        return cls(list(read_lines(work / "valid.tsv.gz")), vocabulary, device)

    def scores(self, network: Network) -> dict[str, float]:
        """``everyday_nats``, ``other_nats`` a target piece, and ``chrf`` of greedy search; dropout must be off."""
        scores = {}
        for everyday, name in ((True, "everyday_nats"), (False, "other_nats")):
            scores[name] = self._nats(network, self._sample[everyday])
        rows = self._sample[True][: CHRF_PAIRS * 3 // 4] + self._sample[False][: CHRF_PAIRS // 4]
        outputs = translate(network, [source for source, _ in rows], self._vocabulary, self._device)
        scores["chrf"] = CHRF().corpus_score(outputs, [[target for _, target in rows]]).score
        return scores

    def _nats(self, network: Network, rows: list[tuple[str, str]]) -> float:
        encode = self._vocabulary.encode
        ids = sorted(([*encode(x), EOS_ID], [*encode(y), EOS_ID]) for x, y in rows)
        ids.sort(key=lambda pair: len(pair[0]))
        total, count = 0.0, 0
        for start in range(0, len(ids), 50):
            sources, targets = zip(*ids[start : start + 50], strict=True)
            total += network.nats(make_batch(list(sources), list(targets), self._vocabulary.pad, self._device))
            count += sum(map(len, targets))
        return total / max(1, count)


def translate(network: Network, sources: list[str], vocabulary: Vocabulary, device: torch.device) -> list[str]:
    """Greedy translations, in the order given."""
    encoded = [[*vocabulary.encode(source), EOS_ID] for source in sources]
    outputs = [""] * len(sources)
    order = sorted(range(len(sources)), key=lambda i: len(encoded[i]))
    for start in range(0, len(order), 50):
        part = order[start : start + 50]
        for index, ids in zip(part, _search(network, [encoded[i] for i in part], vocabulary, device), strict=True):
            outputs[index] = vocabulary.decode(ids)
    return outputs


def _search(
    network: Network, sources: list[list[int]], vocabulary: Vocabulary, device: torch.device
) -> list[list[int]]:
    targets: list[list[int]] = [[] for _ in sources]
    alive = list(range(len(sources)))
    for _ in range(max(map(len, sources)) * 3 // 2 + 8):
        batch = make_batch([sources[i] for i in alive], [targets[i] for i in alive], vocabulary.pad, device)
        logits = network.next_logits(batch)
        logits[:, [vocabulary.pad, vocabulary.separator]] = float("-inf")
        for index, piece in zip(alive, logits.argmax(-1).tolist(), strict=True):
            targets[index].append(piece)
        alive = [i for i in alive if targets[i][-1] != EOS_ID]
        if not alive:
            break
    return targets
