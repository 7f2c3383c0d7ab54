"""What each file that `peers.py` times loses: perplexity, divergence and agreement beside the fp32 source.

python benchmarks/causal_lm/peers_quality.py BASELINE ENGINE:BITS:MODEL ... [--python ENGINE=PATH ...]
                                             --progress DIRECTORY --json FILE

The baseline is an fp32 bundle, run here; where the source was quantised itself, it is that source, dequantised. The
contenders, as in `peers.py`, run in processes of their own. All read the same ids, from the baseline's tokenizer and
with BOS only where its model begins with one, in the same windows of the packaged WikiText-2 test text
(`edgekit.quality.perplexity`), the first ``--windows`` of them, and all figures are calculated here, from their logits.
``--progress`` keeps a file for each model: a line that says of what, then one a window. The same command goes on behind
the last whole line, so that it may be ended at any time; of a model whose files have changed, or whose progress was
deleted, everything is measured anew, and nothing of the others. Nothing is timed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from peers_processes import Contender, Engine, parse_contenders, start_engines
from peers_tables import show_loss
from perplexity import score_window

from edgekit.bench.environment import read_environment
from edgekit.bench.text_models import load_models
from edgekit.quality.divergence import summarize_divergence
from edgekit.quality.perplexity import TextLosses, Window, perplexity, perplexity_loss, plan_windows
from edgekit.quality.plain_text import EvaluationText, load_text

TEXT = "wikitext2"


class EngineModel:
    """A started engine that gives logits as `edgekit.bench.text_models.LoadedModel` does, through a file."""

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine, self._file = engine, file

    def logits(self, token_ids: Sequence[int], first: int) -> npt.NDArray[np.float32]:
        """Logits of what follows each id from ``first`` on: ``[len(token_ids) - first, vocabulary]``."""
        self._engine.ask(ids=list(token_ids), first=first, logits=str(self._file))
        return np.load(self._file)


@dataclass
class Scored:
    """The sums of a contender's windows, in memory and in its file of ``--progress``.

    Attributes:
        contender: The engine and its model.
        file: Where they are kept.
        origin: What they depend on but the engine; those of another origin are dropped.
        sums: An entry of `score_window` for each window so far.
        size_bytes: All files of the model, as they were when scoring began.
    """

    contender: Contender
    file: Path
    origin: dict[str, Any]
    sums: list[dict[str, Any]] = field(default_factory=list)
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.size_bytes = sum(file.stat().st_size for file in files_of(self.contender.model))
        lines = self.file.read_text(encoding="ascii").splitlines(keepends=True) if self.file.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        if found and found[0] == self.origin | {"version": found[0]["version"]}:
            self.contender.version, self.sums = found[0]["version"], found[1:]

    def begin(self) -> None:
        """Writes what is known, so that what follows it can be appended."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        known = [self.origin | {"version": self.contender.version}, *self.sums]
        self.file.write_text("".join(json.dumps(entry) + "\n" for entry in known), encoding="ascii")

    def add(self, entry: dict[str, Any]) -> None:
        """Keeps one more window's."""
        self.sums.append(entry)
        with self.file.open("a", encoding="ascii") as file:
            print(json.dumps(entry), file=file)


def identity(model: Path) -> str:
    """SHA-256 of the SHA-256 of a model's files, by their names' order."""
    digest = hashlib.sha256()
    for file in files_of(model):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def files_of(model: Path) -> list[Path]:
    """A directory's files, or the file itself."""
    return sorted(model.iterdir()) if model.is_dir() else [model]


def score(baseline: Any, kept: list[Scored], windows: list[Window], ids: list[int], pythons: list[str]) -> None:
    """Scores what is not yet scored; the first kept is the baseline's."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        unfinished = {one.contender.name: one for one in kept[1:] if len(one.sums) < len(windows)}
        started = start_engines([one.contender for one in unfinished.values()], pythons, 1, stack)
        running = [
            (unfinished[contender.name], EngineModel(engine, folder / f"{index}.npy"))
            for index, (contender, engine) in enumerate(started)
        ]
        running.insert(0, (kept[0], baseline))
        for one, _ in running:
            one.begin()
        for index, window in enumerate(windows):
            wanting = [(one, model) for one, model in running if len(one.sums) == index]
            if not wanting:
                continue
            models = [baseline, *(model for _, model in wanting if model is not baseline)]
            entries = score_window(models, window, ids)
            for one, model in wanting:
                one.add(entries[models.index(model)])
            print(f"{index + 1} of {len(windows)} windows", flush=True)


def summarise(kept: list[Scored], windows: list[Window], text: EvaluationText) -> list[dict[str, Any]]:
    """A row for the baseline, then one for each contender that has all windows."""
    tokens = np.array([window.end - window.first for window in windows])
    rows = []
    baseline = None
    for one in kept:
        sums = one.sums[: len(windows)]
        if len(sums) < len(windows):
            continue
        losses = TextLosses(np.array([entry["nats"] for entry in sums]), tokens, text.size_bytes, text.words)
        found = asdict(perplexity(losses))
        row: dict[str, Any] = {
            "engine": one.contender.engine,
            "version": one.contender.version,
            "bits": one.contender.bits,
            "model": one.contender.model.name,
            "bytes": one.size_bytes,
            # Losses by byte and word are of a whole text, and these windows are its beginning.
            "perplexity": {name: found[name] for name in ("tokens", "nats_per_token", "perplexity", "ci95")},
        }
        if baseline is None:
            baseline = losses
        else:
            row["loss"] = asdict(perplexity_loss(baseline, losses))
            kl, same = (np.concatenate([entry[name] for entry in sums]) for name in ("kl", "same"))
            row["divergence"] = asdict(summarize_divergence(kl, same))
        rows.append(row)
    return rows


def print_rows(rows: list[dict[str, Any]]) -> None:
    """One line a row."""
    print(f"{'MB':>6} {'perplexity':>10} {'% lost':>22} {'mean KL':>9} {'same top':>8}  engine, model")
    for row in rows:
        cells = f"{row['bytes'] / 1e6:6.0f} {row['perplexity']['perplexity']:10.3f}"
        if "loss" in row:
            far = row["divergence"]
            cells += f" {show_loss(row['loss']):>22} {far['mean_kl']:9.5f} {100 * far['top1_agreement']:7.2f}%"
        else:
            cells += " " * 42
        print(f"{cells}  {row['engine']}, {row['model']}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("baseline", type=Path)
    parser.add_argument("contenders", nargs="+", metavar="ENGINE:BITS:MODEL")
    parser.add_argument("--python", action="append", default=[], metavar="ENGINE=PATH")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--stride", type=int, default=384)
    parser.add_argument("--windows", type=int, default=40, help="how many of the text's first are scored")
    parser.add_argument("--progress", type=Path, required=True, metavar="DIRECTORY")
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Scores what is not yet scored; prints a table, and writes the JSON."""
    arguments = parse_arguments()
    text = load_text(TEXT)
    of = {"context": arguments.context, "stride": arguments.stride, "sha256": text.sha256}
    of["baseline"] = identity(arguments.baseline)
    contenders = parse_contenders([f"edgekit:32:{arguments.baseline}", *arguments.contenders])
    kept = [
        Scored(one, arguments.progress / f"{one.engine}-{one.model.name}.jsonl", of | {"model": identity(one.model)})
        for one in contenders
    ]
    with load_models([arguments.baseline], 1) as (baseline,):
        ids = baseline.encode(text.text)
        planned = plan_windows(len(ids), arguments.context, arguments.stride, baseline.bos_token_id is not None)
        windows = planned[: arguments.windows]
        environment = asdict(read_environment())
        kept[0].contender.version = f"edgekit {environment['versions']['edgekit']}"
        score(baseline, kept, windows, ids, arguments.python)
    rows = summarise(kept, windows, text)
    settings = {"text": TEXT, **{name: getattr(arguments, name) for name in ("context", "stride", "windows")}}
    report = {"environment": environment, "settings": settings, "sha256": text.sha256, "results": rows}
    arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_rows(rows)


if __name__ == "__main__":
    main()
