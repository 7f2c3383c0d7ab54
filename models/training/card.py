"""Model cards from what was measured: models/<name>/README.md.

    python -m models.training.card MODELS/marian-en-de --data WORK --log LOG.csv --scores OUT --notes NOTES.md

In: the published model, prepare.json, the run's last log, the folder of `models.training.evaluate` (scores and
translations of both models) and a text about what the model is like, written by someone who has read its translations.
Out: README.md in the model's folder, with figures from those files alone, and LICENSE.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.training.evaluate import GREEDY, markdown_table, read_testsets
from models.training.networks import DECODER_ONLY, SEQ2SEQ
from models.training.prepare import ALTERED

EXAMPLES = 30
LICENCE = Path(__file__).with_name("weights-license.txt")
HOW_SCORED = """Every line is one text to transformers. edgekit translates sentence by sentence, which gains some tenths
of a point where a line holds several (`benchmarks/bench/`). first-checkpoint is the model that edgekit carried before;
what bergamot, google and microsoft wrote is from mozilla/firefox-translations-models, `evaluation/en-de`."""


@dataclass(frozen=True)
class Source:
    """Where a training set comes from: its licence, and whom to name."""

    licence: str
    attribution: str


_TATOEBA = Source("CC BY 2.0 FR", "https://tatoeba.org, via https://www.manythings.org/anki/")
_MICROSOFT = "Microsoft and the translators of {}"
SOURCES = {
    "tatoeba": _TATOEBA,
    "alternatives": Source("as the set of its sentence", "further translations of sentences of the other sets"),
    "chat": Source("CC BY-SA 4.0", "BConTrasT, Unbabel, from Taskmaster-1 (Google)"),
    "wiki-postedit": Source("CC0 1.0", "MLQE-PE, sheffieldnlp/mlqe-pe"),
    "debian-web": Source(
        "MIT since 2012, before that Open Publication License 1.0",
        "Debian web pages, copyright 1997-2018 Software in the Public Interest, Inc. and others",
    ),
    "rust-book": Source("MIT or Apache-2.0", "The Rust Programming Language; rust-lang-de/rustbook-de"),
    "gnome-help": Source("CC BY-SA 3.0", "GNOME Documentation Project"),
    "mozilla-web": Source("MPL 2.0", "Mozilla, mozilla-l10n/www-l10n"),
    "business-docs": Source("CC BY 4.0", _MICROSOFT.format("dynamics365smb-docs")),
    "cpp-docs": Source("CC BY 4.0", _MICROSOFT.format("cpp-docs")),
    ALTERED: Source("as its pair's set", "pairs of the sets above in capitals, lower case or without a final mark"),
}
_WHAT = {
    SEQ2SEQ: "a small English-German translation model (encoder-decoder)",
    DECODER_ONLY: "the decoder-only twin of marian-en-de, for comparison",
}
_PURPOSE = {
    SEQ2SEQ: """The model that edgekit carries with it, so that there is a real translation model of a widely used
architecture on a machine without a network. `models/training/` is how it was made.""",
    DECODER_ONLY: """A language model that reads `source <sep> target </s>`: the same vocabulary, data, processor time
and, within 5 %, number of weights as marian-en-de, so that the two architectures can be compared and nothing else. Its
chat template turns a user's message into `message<sep>`: a chat call translates. `models/training/` is how it was made.
""".strip(),
}


def architecture(config: dict[str, Any]) -> str:
    """One line of config.json."""
    if config["model_type"] == "marian":
        return (
            f"MarianMT: {config['encoder_layers']} encoder and {config['decoder_layers']} decoder layers, "
            f"width {config['d_model']}, feed-forward {config['encoder_ffn_dim']}, "
            f"{config['encoder_attention_heads']} heads, {config['activation_function']}, tied embeddings"
        )
    return (
        f"Llama: {config['num_hidden_layers']} layers, width {config['hidden_size']}, feed-forward "
        f"{config['intermediate_size']} (SwiGLU), {config['num_attention_heads']} heads, tied embeddings"
    )


def facts(folder: Path, report: dict[str, Any], row: dict[str, str]) -> list[str]:
    """The table of what the model is and how it was trained."""
    from safetensors import safe_open

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with safe_open(folder / "model.safetensors", "np") as tensors:
        names = [name for name in tensors.keys() if name != "final_logits_bias"]  # noqa: SIM118
        weights = sum(tensors.get_tensor(name).size for name in names)
    size = (folder / "model.safetensors").stat().st_size / 1e6
    hours, pairs = float(row["processor_hours"]), int(row["pairs"])
    counts = report["counts"]
    left_out = counts.get("in_a_test_set", 0)
    return [
        "| | |",
        "|---|---|",
        f"| architecture | {architecture(config)} |",
        f"| size | {weights / 1e6:.2f} M weights, {size:.0f} MB as float16 safetensors |",
        f"| vocabulary | SentencePiece unigram, {report['vocabulary']:,} ids, both languages and both models |",
        f"| training | {hours:.2f} processor hours in bf16, {int(row['steps']):,} steps, {pairs:,} pairs seen; "
        "Muon and AdamW, label smoothing 0.1, short pairs first, rate brought to 0, weights averaged |",
        f"| test sentences in the training data | {left_out} of {counts['read']:,} pairs held one, and were left out; "
        f"checked against {counts['test_sentences']:,} sentences of {counts['test_files']} files |",
        f"| held-out everyday sentences | {float(row['everyday_nats']):.3f} nats a target piece |",
    ]


def data_table(report: dict[str, Any]) -> list[str]:
    """Training sets with their licences."""
    total = sum(row["weight"] for row in report["domains"].values())
    lines = ["| set | pairs | share of the pairs seen | licence | attribution |", "|---|---|---|---|---|"]
    for name, row in report["domains"].items():
        source = SOURCES[name]
        share = f"{100 * row['weight'] / total:.0f} %"
        lines.append(f"| {name} | {row['pairs']:,} | {share} | {source.licence} | {source.attribution} |")
    return lines


def examples(scores: Path) -> list[str]:
    """The first lines of the packaged Tatoeba set with the translations of both models."""
    text = next(text for text in read_testsets(None) if text.name.startswith("tatoeba"))
    outputs = [
        (scores / f"tatoeba-packaged.{model}.{GREEDY}.txt").read_text(encoding="utf-8").split("\n")
        for model in (SEQ2SEQ, DECODER_ONLY)
    ]
    lines = [f"| source | reference | {SEQ2SEQ} | {DECODER_ONLY} |", "|---|---|---|---|"]
    for index in range(min(EXAMPLES, *map(len, outputs))):
        cells = [text.sources[index], text.references[index], *(output[index] for output in outputs)]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return lines


def card(name: str, folder: Path, data: Path, log: Path, scores: Path, notes: str) -> str:
    """The text of the card."""
    report = json.loads((data / "prepare.json").read_text(encoding="utf-8"))
    content = json.loads((scores / "scores.json").read_text(encoding="utf-8"))
    with open(log, newline="", encoding="utf-8") as file:
        row = list(csv.DictReader(file))[-1]
    head = ["---", "license: cc-by-sa-4.0", "language: [en, de]", "pipeline_tag: translation", "---", ""]
    sections = [
        [f"# {name}: {_WHAT[name]}", "", _PURPOSE[name], ""],
        [*facts(folder, report, row), ""],
        ["## What to expect", "", notes.strip(), ""],
        ["## Quality", "", markdown_table(content)],
        [HOW_SCORED, "", "Quality against processor hours, both models: `models/training/curves.svg`.", ""],
        [f"## The first {EXAMPLES} lines of the packaged Tatoeba set, greedy", "", *examples(scores), ""],
        ["## Training data and attribution", "", *data_table(report), ""],
        ["## Licence", "", "See `LICENSE` beside this file.", ""],
    ]
    return "\n".join([*head, *(line for section in sections for line in section)])


def main() -> None:
    """Command line; see the module's description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the published model, named as the model is")
    parser.add_argument("--data", type=Path, required=True, help="what models.training.prepare wrote")
    parser.add_argument("--log", type=Path, required=True, help="log.csv of the cool-down")
    parser.add_argument("--scores", type=Path, required=True, help="what models.training.evaluate wrote")
    parser.add_argument("--notes", type=Path, required=True, help="what the model is like, and what it is not for")
    arguments = parser.parse_args()
    notes = arguments.notes.read_text(encoding="utf-8")
    folder: Path = arguments.folder
    text = card(folder.name, folder, arguments.data, arguments.log, arguments.scores, notes)
    (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
    licence = LICENCE.read_text(encoding="utf-8").replace("{name}", folder.name)
    (folder / "LICENSE").write_text(licence, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
