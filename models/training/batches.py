"""Which pairs are seen when: a fixed order for a seed, and a position in it that is two numbers.

Training goes in rounds. A round takes from every domain its share of `ROUND` pairs, going through the domain in a
shuffled order, again and again; sorts them by length, cuts batches of about equal work, and shuffles those. Early
rounds take short pairs only: attention to the source is learned from them, and long ones only hold it up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from models.training.networks import Batch

ROUND = 20_000


@dataclass(frozen=True)
class Stage:
    """Of the curriculum.

    Attributes:
        start: From which pair on.
        longest: Pieces of a side at most.
        batch_pieces: Source and target pieces of a batch at most, padding included.
    """

    start: int
    longest: int
    batch_pieces: int


CURRICULUM = (Stage(0, 14, 2048), Stage(120_000, 28, 3072), Stage(400_000, 110, 4096))


@dataclass(frozen=True)
class Position:
    """Where training is.

    Attributes:
        round: Of how many before it are finished.
        batch: The next of the round.
        pairs: Seen before this round.
        last_stage: The round is of the curriculum's last stage whatever was seen, as in a cool-down.
    """

    round: int = 0
    batch: int = 0
    pairs: int = 0
    last_stage: bool = False

    @property
    def stage(self) -> Stage:
        """Of the curriculum."""
        return CURRICULUM[-1] if self.last_stage else [stage for stage in CURRICULUM if self.pairs >= stage.start][-1]


class TrainingSet:
    """The pairs of `prepare`, by domain."""

    def __init__(self, work: Path, pad: int, seed: int, device: torch.device) -> None:
        arrays = np.load(work / "train.npz")
        domains = json.loads((work / "prepare.json").read_text(encoding="utf-8"))["domains"]
        self._weights = {name: float(row["weight"]) for name, row in domains.items() if row["pairs"]}
        self._ids = {name: arrays[f"{name}.ids"] for name in self._weights}
        self._lengths = {name: arrays[f"{name}.lengths"] for name in self._weights}
        self._starts = {
            name: np.concatenate([[0], np.cumsum(lengths.sum(1))]) for name, lengths in self._lengths.items()
        }
        self._pad, self._seed, self._device = pad, seed, device
        self._cached: tuple[Position | None, list[list[tuple[str, int]]]] = (None, [])

    def batches(self, position: Position) -> Iterator[tuple[Batch, Position]]:
        """The batches from a position on, without end; each with the position that follows it."""
        while True:
            plan = self._plan(position)
            for index in range(position.batch, len(plan)):
                done = index + 1 == len(plan)
                pairs = position.pairs + sum(map(len, plan)) if done else position.pairs
                follow = Position(position.round + done, 0 if done else index + 1, pairs, position.last_stage)
                yield self._pad_rows(plan[index]), follow
            position = follow

    def pairs_seen(self, position: Position) -> int:
        """Pairs before a position."""
        return position.pairs + sum(len(batch) for batch in self._plan(position)[: position.batch])

    def _plan(self, position: Position) -> list[list[tuple[str, int]]]:
        """The batches of a round, as domains and rows."""
        start = replace(position, batch=0)
        if self._cached[0] != start:
            stage = position.stage
            chosen = self._choose(position.round, stage.longest)
            random = np.random.default_rng([self._seed, position.round])
            self._cached = (start, self._cut(chosen, stage.batch_pieces, random))
        return self._cached[1]

    def _choose(self, number: int, longest: int) -> list[tuple[str, int]]:
        chosen = []
        total = sum(self._weights.values())
        for index, (name, weight) in enumerate(self._weights.items()):
            rows = np.flatnonzero(self._lengths[name].max(1) <= longest)
            share = round(ROUND * weight / total)
            if not len(rows):
                continue
            for place in range(number * share, (number + 1) * share):
                lap, offset = divmod(place, len(rows))
                if place == number * share or offset == 0:
                    order = np.random.default_rng([self._seed, index, lap]).permutation(rows)
                chosen.append((name, int(order[offset])))
        return chosen

    def _cut(
        self, chosen: list[tuple[str, int]], most: int, random: np.random.Generator
    ) -> list[list[tuple[str, int]]]:
        random.shuffle(chosen)  # equal lengths in random order
        chosen = sorted(chosen, key=lambda row: tuple(self._lengths[row[0]][row[1]]))
        plan: list[list[tuple[str, int]]] = []
        batch: list[tuple[str, int]] = []
        longest = (0, 0)
        for name, row in chosen:
            source, target = self._lengths[name][row]
            grown = (max(longest[0], source), max(longest[1], target))
            if batch and (len(batch) + 1) * sum(grown) > most:
                plan.append(batch)
                batch, grown = [], (source, target)
            batch.append((name, row))
            longest = grown
        plan.append(batch)
        random.shuffle(plan)
        return plan

    def _pad_rows(self, rows: list[tuple[str, int]]) -> Batch:
        sides: tuple[list[list[int]], list[list[int]]] = ([], [])
        for name, row in rows:
            start, (source, target) = self._starts[name][row], self._lengths[name][row]
            sides[0].append(self._ids[name][start : start + source].tolist())
            sides[1].append(self._ids[name][start + source : start + source + target].tolist())
        return make_batch(*sides, self._pad, self._device)


def make_batch(sources: list[list[int]], targets: list[list[int]], pad: int, device: torch.device) -> Batch:
    """Pads ids; sources end in ``</s>``, targets too where they are to be predicted."""
    padded = [_pad(side, pad).to(device) for side in (sources, targets)]
    lengths = [torch.tensor([len(row) for row in side], device=device) for side in (sources, targets)]
    return Batch(padded[0], padded[1], lengths[0], lengths[1])


def _pad(rows: list[list[int]], pad: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [pad] * (longest - len(row)) for row in rows], dtype=torch.int64)
