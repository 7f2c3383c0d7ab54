"""Every scheme of a model side by side: quality with its interval against fp32, size, and speed on one thread.

Each model is exported in fp32, quantised in every scheme that its kind has (calibrated on development text), and all
bundles are measured together, round by round, as `edgekit bench` does: translations on the packaged test sets,
decoder-only models on the packaged test text. A scheme that a model refuses is listed with the reason. With
``--search`` the mix that was found within those budgets on development text is a row, too (the fastest one;
``--search-size``: the smallest).

    python benchmarks/quantisation/tables.py marian-en-de firefox-en-pt firefox-pt-en --search chrf=0.3
    python benchmarks/quantisation/tables.py smollm2-135m --search ppl=2% --search-size ppl=2%
    python benchmarks/quantisation/tables.py marian-en-de --quick            # a few minutes, to see that all works

``--source`` is as `edgekit export` has it. Bundles are kept in ``--work`` and used again; searches go on where they
were interrupted. The results go to ``benchmarks/quantisation/<model>.json`` and ``<model>.md``. An fp32 bundle of a
directory's path is taken as it is. The SmolLM2 mix by itself::

    edgekit quantize smollm2-135m --search --max-loss ppl=2% --cost size -o smollm2-135m-mix
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.bench.benchmark import plan_benchmark, run_benchmark
from edgekit.bench.measure import BenchSettings
from edgekit.bench.report import to_dict
from edgekit.bench.text_benchmark import plan_text_benchmark, run_text_benchmark
from edgekit.bench.text_speed import TextBenchSettings
from edgekit.bundle.files import MANIFEST_NAME
from edgekit.bundle.read import open_bundle
from edgekit.errors import EdgekitError
from edgekit.export import export
from edgekit.gate.budget import parse_budget
from edgekit.gate.calibration import calibrate_on_development
from edgekit.gate.search import SearchSettings, search_mix
from edgekit.quantize.bundle import quantize_bundle
from edgekit.quantize.scheme import SCHEMES, named_scheme

HERE = Path(__file__).parent
CALIBRATION_TEXTS = 256
TRANSLATION = (
    "size MB",
    "test set",
    "chrF",
    "chrF loss [95 %]",
    "BLEU loss [95 %]",
    "ms p50",
    "ms p95",
    "words/s batched",
)
TEXT = (
    "size MB",
    "perplexity",
    "perplexity loss % [95 %]",
    "KL nats",
    "same top token",
    "decode tok/s",
    "prefill tok/s",
)


def say(message: str) -> None:
    """A line on stderr."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def no_bar(description: str, total: float | None = None, unit: str = "items"):
    """Progress of exports and searches: a line at its beginning."""

    class Bar:
        def advance(self, n: float = 1) -> None: ...

        def set_total(self, total: float) -> None: ...

    say(description)
    yield Bar()


def make_bundles(model: str, work: Path, source: str | None, arguments: argparse.Namespace) -> tuple[list[Path], dict]:
    """The fp32 bundle, one of each scheme and the mixes; and why those that are missing were refused."""
    directory = work / Path(model).name
    fp32 = Path(model) if (Path(model) / MANIFEST_NAME).is_file() else directory / "fp32"
    if not fp32.is_dir():
        export(model, "fp32", fp32, source, notify=say, progress=no_bar)
    kind, bundles, refused = open_bundle(fp32).manifest.kind, [fp32], {}
    calibration = None
    for name in SCHEMES[kind]:
        path = directory / name
        if name == "fp32":
            continue
        scheme = named_scheme(kind, name)
        try:
            if not path.is_dir():
                if scheme.needs_calibration and calibration is None:
                    say(f"{model}: calibrating")
                    calibration = calibrate_on_development(fp32, None, CALIBRATION_TEXTS)
                say(f"{model}: {name}")
                quantize_bundle(fp32, None, path, scheme=scheme, calibration=calibration)
            bundles.append(path)
        except EdgekitError as error:
            refused[name] = str(error)
    task = open_bundle(fp32).manifest.task
    for cost, texts in (("time", arguments.search), ("size", arguments.search_size)):
        budgets = tuple(found for found in map(parse_budget, texts or ()) if fits(found.metric, task))
        path = directory / f"mix-{cost}"
        try:
            if budgets and not path.is_dir():
                settings = SearchSettings(budgets, None, cost)
                search_mix(fp32, path, settings, force=False, notify=say, progress=no_bar)
            if path.is_dir():
                bundles.append(path)
        except EdgekitError as error:
            refused[path.name] = str(error)
    return bundles, refused


def fits(metric: str, task: str) -> bool:
    """Whether a budget is of that task: one list may serve models of both."""
    return metric == "kl" or (metric == "ppl") == (task == "text-generation")


def measure(bundles: list[Path], quick: bool) -> dict[str, Any]:
    """The report of `edgekit bench` over these bundles."""
    if open_bundle(bundles[0]).manifest.task == "translation":
        settings = BenchSettings(limit=40, rounds=1, latency_sentences=10, loads=1) if quick else BenchSettings()
        return to_dict(run_benchmark(plan_benchmark(bundles, [], settings)))
    text_settings = TextBenchSettings(limit=12, rounds=1, loads=1) if quick else TextBenchSettings()
    return to_dict(run_text_benchmark(plan_text_benchmark(bundles, [], text_settings)))


def with_interval(value: float | None, interval: list[float] | None, digits: int = 2) -> str:
    """``0.21 [0.04, 0.39]``; a dash for the baseline."""
    if value is None or interval is None:
        return "-"
    return f"{value:.{digits}f} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def row(result: dict[str, Any], is_text: bool) -> list[str]:
    """One line of the table."""
    size = f"{result['size_mb']:.1f}"
    if is_text:
        prompt, prefill = next(iter(result["prefill_tokens_per_second"].items()))
        kl, same = result["mean_kl"], result["top1_agreement"]
        return [
            size,
            f"{result['perplexity']:.2f}",
            with_interval(result["perplexity_loss_percent"], result["perplexity_loss_percent_ci95"]),
            "-" if kl is None else f"{kl:.4f}",
            "-" if same is None else f"{100 * same:.1f} %",
            f"{result['decode_tokens_per_second']:.1f}",
            f"{prefill:.0f} ({prompt})",
        ]
    return [
        size,
        result["testset"],
        f"{result['chrf']:.2f}",
        with_interval(result["chrf_loss"], result["chrf_loss_ci95"]),
        with_interval(result["bleu_loss"], result["bleu_loss_ci95"]),
        f"{result['latency_ms_p50']:.2f}",
        f"{result['latency_ms_p95']:.2f}",
        f"{result['words_per_second_batched']:.0f}",
    ]


def to_markdown(model: str, report: dict[str, Any]) -> str:
    """The table, what was refused, and what it was measured on."""
    is_text = report["task"] == "text-generation"
    lines = [f"# {model}", "", "| scheme | " + " | ".join(TEXT if is_text else TRANSLATION) + " |"]
    lines.append("|---" * (len(TEXT if is_text else TRANSLATION) + 1) + "|")
    lines += [f"| {result['bundle']} | " + " | ".join(row(result, is_text)) + " |" for result in report["results"]]
    lines += [""] + [f"- {name}: {reason}" for name, reason in report["refused"].items()]
    lines += [f"- {name}: {mix}" for name, mix in report["mixes"].items()]
    lines += [f"- warning: {warning}" for warning in report["warnings"]]
    environment = report["environment"]
    lines.append(f"\n{environment['cpu']}, one thread, {environment['background_cores_during']:.2f} other cores busy.")
    return "\n".join(lines) + "\n"


def describe_mix(bundle: Path) -> str | None:
    """The formats of a mix and what its gate found; None for other bundles."""
    measured = open_bundle(bundle).manifest.measured or {}
    if "search" not in measured:
        return None
    formats = list(measured["search"]["formats"].values())
    counts = ", ".join(f"{formats.count(name)} tensors in {name}" for name in sorted(set(formats)))
    return f"{counts}; {100 * measured['search']['size_of_int8']:.1f} % of plain int8's size; gate {measured['gate']}"


def main() -> None:
    """Makes, measures and writes the table of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--source", help="as `edgekit export` has it")
    parser.add_argument("--search", nargs="+", metavar="BUDGET", help="also the fastest mix within these")
    parser.add_argument("--search-size", nargs="+", metavar="BUDGET", help="also the smallest mix within these")
    parser.add_argument("--work", type=Path, default=Path("quantisation-bundles"), help="where bundles are kept")
    parser.add_argument("--output", type=Path, default=HERE, help="where the tables go")
    parser.add_argument("--quick", action="store_true", help="few sentences, one round: to see that all works")
    parser.add_argument("--fresh", action="store_true", help="make the bundles again")
    arguments = parser.parse_args()
    for model in arguments.models:
        name = Path(model).name
        if arguments.fresh:
            shutil.rmtree(arguments.work / name, ignore_errors=True)
        bundles, refused = make_bundles(model, arguments.work, arguments.source, arguments)
        say(f"{model}: measuring {len(bundles)} bundles")
        report = measure(bundles, arguments.quick)
        report["refused"] = refused
        report["mixes"] = {path.name: mix for path in bundles if (mix := describe_mix(path))}
        report["quick"] = arguments.quick
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (arguments.output / f"{name}.md").write_text(to_markdown(name, report), encoding="utf-8")
        print(to_markdown(name, report))


if __name__ == "__main__":
    main()
