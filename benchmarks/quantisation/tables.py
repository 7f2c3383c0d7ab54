"""Every scheme of a model side by side: quality with its interval against fp32, size, and time on one thread.

    python benchmarks/quantisation/tables.py quality marian-en-de --source embedded
    python benchmarks/quantisation/tables.py speed marian-en-de --source embedded       # on a quiet machine
    python benchmarks/quantisation/tables.py quality smollm2-135m --search ppl=2% --cost size
    python benchmarks/quantisation/tables.py quality models/lm-en-de --translates en-de

``quality`` makes the bundles, calibrated on development text, and scores them on the beginning of the packaged test
sets (`table_quality`); ``speed`` times them side by side (`table_speed`). Both keep what they find, in ``--work`` or in
``benchmarks/quantisation/<model>.json``, and go on where they were; the page ``<model>.md`` is written anew each time.
A bundle that changed since is measured again. With ``--search`` the mix that is found within those budgets on
development text is a row, too. A scheme that a model refuses is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from table_bundles import FLOAT, add_mix, default_name, describe, identity, make_bundles, say
from table_page import to_markdown
from table_quality import Known, text_quality, translation_quality
from table_speed import measure_bundles

from edgekit.bundle.read import open_bundle

HERE = Path(__file__).parent


def parse_arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("quality", "speed"))
    parser.add_argument("models", nargs="+", help="recipes' names or checkpoints' directories")
    parser.add_argument("--source", help="as `edgekit export` has it")
    parser.add_argument(
        "--translates", metavar="S-T", help="a language model that translates what it is sent as a chat"
    )
    parser.add_argument("--search", nargs="+", metavar="BUDGET", help="also the mix within these budgets")
    parser.add_argument("--cost", choices=("time", "size"), default="time", help="what the mix makes least")
    parser.add_argument("--sentences", type=int, default=500, help="of each test set")
    parser.add_argument("--lines", type=int, default=60, help="of the test text")
    parser.add_argument("--rounds", type=int, default=3, help="in which everything is timed")
    parser.add_argument("--work", type=Path, default=Path("quantisation-bundles"), help="where bundles are kept")
    parser.add_argument("--output", type=Path, default=HERE, help="where the tables go")
    return parser.parse_args()


def measure(model: str, arguments: argparse.Namespace) -> None:
    """One step for one model; its files are written."""
    bundles, refused = make_bundles(model, arguments.work, arguments.source)
    if arguments.search:
        mix, reason = add_mix(bundles[FLOAT], arguments.search, arguments.cost)
        if mix is not None:
            bundles[mix.name] = mix
        else:
            refused["mix"] = str(reason)
    name = open_bundle(bundles[FLOAT]).manifest.name
    path = arguments.output / f"{name}.json"
    before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    report = {"model": name, "plain_int8": default_name(bundles), "refused": refused}
    report["bundles"] = {scheme: {"identity": identity(at), **describe(at)} for scheme, at in bundles.items()}
    quality = score(bundles, arguments)
    for scheme, row in report["bundles"].items():
        row["quality"] = quality[scheme]
        known = before.get("bundles", {}).get(scheme, {})
        row["speed"] = known.get("speed") if known.get("identity") == row["identity"] else None
    report["machine"] = before.get("machine")
    # Times that weren't taken side by side aren't compared.
    if arguments.step == "speed" or any(row["speed"] is None for row in report["bundles"].values()):
        report["machine"], speed = None, dict.fromkeys(bundles)
        if arguments.step == "speed":
            say(f"{name}: timing {len(bundles)} bundles")
            speed, report["machine"] = measure_bundles(bundles, arguments.rounds)
        for scheme, row in report["bundles"].items():
            row["speed"] = speed[scheme]
    arguments.output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))


def score(bundles: dict[str, Path], arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """By scheme, the figures of the model's kind."""
    manifest = open_bundle(bundles[FLOAT]).manifest
    known = Known(arguments.work / manifest.name / "results")
    languages = manifest.languages.source, manifest.languages.target
    if arguments.translates:
        languages = tuple(arguments.translates.split("-"))
    if manifest.task == "translation" or arguments.translates:
        return translation_quality(bundles, languages, arguments.sentences, known)
    return text_quality(bundles, arguments.lines, known)


def main() -> None:
    """One step for all models."""
    arguments = parse_arguments()
    for model in arguments.models:
        measure(model, arguments)


if __name__ == "__main__":
    main()
