"""Trains either model, in slices, and cools it down whenever wanted.

    python -m models.training.train RUN --model marian-en-de --data WORK --minutes 60
    python -m models.training.train RUN --model marian-en-de --data WORK --cooldown 1500

The learning rate rises, then stays. RUN/state.pt is saved every few minutes and on SIGTERM; the same command goes on
from there. ``--cooldown N`` starts from that state too, brings the rate to 0 in N steps, and saves in RUN/cooldown-N,
so that the run itself may still be extended. Time is processor time of training steps alone: not of evaluation, nor of
waiting. On one kind of processor the same seed gives the same weights, however often a run is interrupted.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import time
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from models.training.batches import Position, TrainingSet
from models.training.decoder_only import DecoderOnly
from models.training.networks import DECODER_ONLY, DEFAULT_SIZES, SEQ2SEQ, Batch, Ids, Network, Sizes
from models.training.optimiser import Optimiser
from models.training.search import DevelopmentSet
from models.training.seq2seq import Seq2Seq
from models.training.vocabulary import Vocabulary

STATE = "state.pt"
AVERAGE_EVERY, AVERAGE_DECAY = 10, 0.998  # a step
COLUMNS = ("model", "processor_hours", "steps", "pairs", "rate", "loss", "everyday_nats", "other_nats", "chrf")


@dataclass(frozen=True)
class Options:
    """What a run is made with; kept in its checkpoints.

    Attributes:
        model: `SEQ2SEQ` or `DECODER_ONLY`.
        sizes: Of the network.
        rate: The stable learning rate.
        warmup: Steps to reach it.
        seed: Of the start, the order of the pairs and dropout.
        precision: The type of products and gradients.
        dropout: Its probability.
    """

    model: str
    sizes: Sizes
    rate: float = 2e-3
    warmup: int = 300
    seed: int = 1
    precision: str = "bfloat16"
    dropout: float = 0.0


def build_network(options: Options, vocabulary: Vocabulary, device: torch.device) -> Network:
    """The network, as it starts."""
    dtype = getattr(torch, options.precision)
    kind = Seq2Seq if options.model == SEQ2SEQ else DecoderOnly
    return kind(options.sizes, Ids(vocabulary.pad, vocabulary.separator), dtype, device, options.seed)


class Run:
    """A run: network, optimiser, average, position, and the folder that keeps them."""

    def __init__(self, folder: Path, data: Path, options: Options, device: torch.device) -> None:
        self.folder, self.options, self.device = folder, options, device
        vocabulary = Vocabulary(data)
        self.network = build_network(options, vocabulary, device)
        self.optimiser = Optimiser(self.network.weights, getattr(torch, options.precision))
        self.average = self.network.weights.master.clone()
        self.pairs = TrainingSet(data, vocabulary.pad, options.seed, device)
        self.development = DevelopmentSet.open(data, vocabulary, device)
        self.position, self.step, self.seconds, self.cooled_from = Position(), 0, 0.0, -1
        self._losses: list[float] = []

    def load(self, path: Path) -> None:
        """Goes on from a checkpoint.

        Raises:
            ValueError: It was made with other options.
        """
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["options"] != asdict(self.options):
            raise ValueError(f"{path}: expected a run with {asdict(self.options)}, found {state['options']}")
        weights = self.network.weights
        weights.master.copy_(state["master"])
        weights.refresh(weights.master)
        self.average.copy_(state["average"])
        for name, value in self.optimiser.state.items():
            value.copy_(state["optimiser"][name])
        self.position = Position(*state["position"])
        self.step, self.seconds, self.cooled_from = state["step"], state["seconds"], state["cooled_from"]

    def save(self) -> None:
        """Writes state.pt in one piece."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "options": asdict(self.options),
            "master": self.network.weights.master,
            "average": self.average,
            "optimiser": self.optimiser.state,
            "position": list(astuple(self.position)),
            "step": self.step,
            "seconds": self.seconds,
            "cooled_from": self.cooled_from,
        }
        staged = self.folder / f"{STATE}.{os.getpid()}"
        torch.save(state, staged)
        staged.replace(self.folder / STATE)

    def start_cooldown(self) -> None:
        """From here on the rate falls, and pairs of all lengths are seen."""
        self.cooled_from = self.step
        seen = self.pairs.pairs_seen(self.position)
        self.position = Position(self.position.round + 1, 0, seen, last_stage=True)

    def rate(self, cooldown: int) -> float:
        """The learning rate of the next step."""
        rate = self.options.rate * min(1.0, (self.step + 1) / self.options.warmup)
        return rate * (1 - (self.step - self.cooled_from) / cooldown) if cooldown else rate

    def train_step(self, batch: Batch, cooldown: int) -> None:
        """One step; the position is the caller's."""
        start = time.process_time()
        self.network.dropout.probability = self.options.dropout
        self.network.dropout.seed(self.options.seed * 1_000_003 + self.step)
        self.network.weights.zero_gradients()
        loss = self.network.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.update(self.step, self.rate(cooldown))
        self.step += 1
        if self.step % AVERAGE_EVERY == 0:
            updates = self.step / AVERAGE_EVERY
            decay = min(AVERAGE_DECAY**AVERAGE_EVERY, updates / (updates + 10))
            self.average.lerp_(self.network.weights.master, 1 - decay)
        self._losses.append(loss.item())
        self.seconds += time.process_time() - start

    def log(self, cooldown: int) -> dict[str, Any]:
        """Scores the average on the development set; appends a row to log.csv."""
        weights, dropout = self.network.weights, self.network.dropout
        weights.refresh(self.average)
        dropout.probability = 0.0
        scores = self.development.scores(self.network)
        weights.refresh(weights.master)
        loss = sum(self._losses) / max(1, len(self._losses))
        self._losses = []
        hours, seen = self.seconds / 3600, self.pairs.pairs_seen(self.position)
        numbers = (hours, self.step, seen, self.rate(cooldown), loss, *(scores[name] for name in COLUMNS[-3:]))
        row = dict(
            zip(
                COLUMNS,
                (self.options.model, *(f"{x:.5g}" if isinstance(x, float) else x for x in numbers)),
                strict=True,
            )
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "log.csv"
        new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)
        return row


def train(run: Run, minutes: float, steps: int, cooldown: int, log_minutes: float, save_minutes: float) -> bool:
    """Trains until the processor minutes or steps of the whole run are reached, or a SIGTERM; returns if it is done.

    With `cooldown`, until that many steps after `Run.cooled_from`.
    """
    stopped: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    logged = saved = run.seconds
    end = run.cooled_from + cooldown if cooldown else steps
    done = False
    for batch, position in run.pairs.batches(run.position):
        done = run.step >= end or (not cooldown and run.seconds >= minutes * 60)
        if done or stopped:
            break
        run.train_step(batch, cooldown)
        run.position = position
        if run.step % 100 == 0:
            seen, recent = run.pairs.pairs_seen(run.position), run._losses[-100:]
            print(
                f"{run.seconds / 60:.1f} min, step {run.step}, {seen} pairs, loss {sum(recent) / len(recent):.3f}",
                flush=True,
            )
        if run.seconds - logged >= log_minutes * 60:
            print(run.log(cooldown), flush=True)
            logged = run.seconds
        if run.seconds - saved >= save_minutes * 60:
            run.save()
            saved = run.seconds
    if done:
        print(run.log(cooldown), flush=True)
    run.save()
    signal.signal(signal.SIGTERM, previous)
    return done


def main() -> None:
    """Command line; see the module's description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--model", choices=(SEQ2SEQ, DECODER_ONLY), required=True)
    parser.add_argument("--data", type=Path, required=True, help="what models.training.prepare wrote")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="processor minutes of the whole run")
    parser.add_argument("--steps", type=int, default=1 << 40, help="steps of the whole run")
    parser.add_argument("--cooldown", type=int, default=0, metavar="STEPS")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log-minutes", type=float, default=10.0)
    parser.add_argument("--save-minutes", type=float, default=4.0)
    parser.add_argument("--rate", type=float, default=Options.rate)
    parser.add_argument("--seed", type=int, default=Options.seed)
    parser.add_argument("--dropout", type=float, default=Options.dropout, help="for runs that see a pair many times")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = DEFAULT_SIZES[arguments.model]
    options = Options(arguments.model, sizes, rate=arguments.rate, seed=arguments.seed, dropout=arguments.dropout)
    folder = arguments.run / f"cooldown-{arguments.cooldown}" if arguments.cooldown else arguments.run
    run = Run(folder, arguments.data, options, device)
    states = [path for path in (folder / STATE, arguments.run / STATE) if path.exists()]
    if states:
        run.load(states[0])
    if run.cooled_from < 0 and arguments.cooldown:
        run.start_cooldown()
    print(f"{arguments.model}: {len(run.network.weights.master):,} weights, from step {run.step}", flush=True)
    train(run, arguments.minutes, arguments.steps, arguments.cooldown, arguments.log_minutes, arguments.save_minutes)


if __name__ == "__main__":
    main()
