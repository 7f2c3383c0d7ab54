"""Perplexity, divergence and agreement of quantised bundles on the packaged WikiText-2 test text, in pieces.

python benchmarks/causal_lm/perplexity.py BASELINE BUNDLE ... --progress FILE --json FILE

The baseline, an fp32 bundle, and all others read the same windows: ``--context`` tokens of which the last ``--stride``
are counted (`edgekit.quality.perplexity`). After each window its sums are appended to ``--progress``; the same command
goes on behind the last whole line, so that it may be ended at any time. Nothing is timed: run it at low priority. The
results do not depend on the load, but their last digits on the CPU's kernels. Where the source was quantised itself,
the baseline is that source, dequantised. The JSON names bundles by their directories' names.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.bench.environment import read_environment
from edgekit.bench.text_models import LoadedModel, load_models
from edgekit.quality.divergence import kl_divergence, same_top, summarize_divergence
from edgekit.quality.perplexity import (
    TextLosses,
    Window,
    log_softmax,
    perplexity,
    perplexity_loss,
    plan_windows,
    token_losses,
)
from edgekit.quality.plain_text import EvaluationText, load_text

Sums = list[dict[str, Any]]


def score_window(models: list[LoadedModel], window: Window, ids: list[int]) -> Sums:
    """What each model makes of a window: nats, and of all but the first KL divergence and agreement by token."""
    bos = models[0].bos_token_id
    fed = [*([] if bos is None else [bos]), *ids[window.start : window.end]]
    targets = ids[window.first : window.end]
    baseline = None
    sums: Sums = []
    for model in models:
        found = log_softmax(model.logits(fed, window.rows.start)[: len(targets)])
        entry: dict[str, Any] = {"nats": float(token_losses(found, targets).sum())}
        if baseline is None:
            baseline = found
        else:
            entry["kl"] = kl_divergence(baseline, found).tolist()
            entry["same"] = same_top(baseline, found).tolist()
        sums.append(entry)
    return sums


def scored(models: list[LoadedModel], windows: list[Window], ids: list[int], progress: Path) -> Iterator[Sums]:
    """The sums of each window, from the file as far as it goes."""
    known = progress.read_text(encoding="ascii").splitlines(keepends=True) if progress.exists() else []
    known = [line for line in known if line.endswith("\n")]
    progress.write_text("".join(known), encoding="ascii")
    with progress.open("a", encoding="ascii") as file:
        for index, window in enumerate(windows):
            if index < len(known):
                yield json.loads(known[index])
                continue
            sums = score_window(models, window, ids)
            print(json.dumps(sums), file=file, flush=True)
            print(f"{index + 1} of {len(windows)} windows", flush=True)
            yield sums


def summarise(bundles: list[Path], windows: list[Window], sums: list[Sums], text: EvaluationText) -> Sums:
    """A row for each bundle."""
    tokens = np.array([window.end - window.first for window in windows])
    rows: Sums = []
    losses = []
    for index, bundle in enumerate(bundles):
        nats = np.array([window[index]["nats"] for window in sums])
        losses.append(TextLosses(nats, tokens, text.size_bytes, text.words))
        row: dict[str, Any] = {"bundle": bundle.name, "perplexity": asdict(perplexity(losses[index]))}
        row["bytes"] = sum(file.stat().st_size for file in bundle.iterdir())
        if index:
            row["loss"] = asdict(perplexity_loss(losses[0], losses[index]))
            kl = np.concatenate([window[index]["kl"] for window in sums])
            same = np.concatenate([window[index]["same"] for window in sums])
            row["divergence"] = asdict(summarize_divergence(kl, same))
        rows.append(row)
    return rows


def main() -> None:
    """Scores what is not yet scored; prints a line a bundle, and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--text", default="wikitext2")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--stride", type=int, default=256)
    parser.add_argument("--lines", type=int, help="only the text's first lines: does everything run?")
    parser.add_argument("--progress", type=Path, required=True, help="one file for each list of bundles and settings")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    text = load_text(arguments.text).first(arguments.lines)
    with load_models(arguments.bundles, 1) as models:
        ids = models[0].encode(text.text)
        windows = plan_windows(len(ids), arguments.context, arguments.stride, models[0].bos_token_id is not None)
        rows = summarise(arguments.bundles, windows, list(scored(models, windows, ids, arguments.progress)), text)
    settings = {name: getattr(arguments, name) for name in ("text", "context", "stride", "lines")}
    report = {"environment": asdict(read_environment()), "settings": settings, "sha256": text.sha256, "results": rows}
    arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        print(row["bundle"], f"{row['perplexity']['perplexity']:.3f}", row.get("loss", ""), row.get("divergence", ""))


if __name__ == "__main__":
    main()
