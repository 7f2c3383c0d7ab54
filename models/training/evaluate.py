"""Scores models on test sets, through transformers: chrF and BLEU with sacreBLEU's signatures, greedy and with a beam.

    python -m models.training.evaluate OUT --model marian-en-de=DIR --model lm-en-de=DIR --tests DIR --systems DIR

In: folders that MarianMTModel or LlamaForCausalLM opens, test sets (``<set>.en.gz`` and ``<set>.de.gz`` in DIR; the
packaged ones always), and outputs of other systems (``<set>.<system>.de.gz``). Out, in the folder OUT: every
translation (``<set>.<model>.<search>.txt``, which another run takes up instead of translating again), ``scores.json``
and ``scores.md``. A set from DIR may be cut to its first lines; then everything is scored on those, and the table says
so. The packaged sets are always whole.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from edgekit.quality.parallel_text import load_testset

PACKAGED = ("tatoeba", "flores-dev")
GREEDY, BEAM = "greedy", "beam4"
BEAMS = {GREEDY: 1, BEAM: 4}
COPY = "copying the source"
# The name of a test set in the names of other systems' outputs.
SYSTEM_SETS = {
    "newstest2013": "wmt13",
    "newstest2014-2737": "wmt14",
    "newstest2016": "wmt16",
    "newstest2018": "wmt18",
    "newstest2019": "wmt19",
}
BATCH_PIECES = 3000
Translate = Callable[[Sequence[str], int], list[str]]


@dataclass(frozen=True)
class TestText:
    """A test set, perhaps cut; `of` is its whole length."""

    __test__ = False

    name: str
    sources: tuple[str, ...]
    references: tuple[str, ...]
    of: int
    packaged: bool = False

    def first(self, count: int) -> TestText:
        """Its first lines."""
        return replace(self, sources=self.sources[:count], references=self.references[:count])


def read_text(path: Path) -> tuple[str, ...]:
    """Lines of a gzipped text; only a line feed ends one."""
    return tuple(gzip.decompress(path.read_bytes()).decode().rstrip("\n").split("\n"))


def read_testsets(folder: Path | None) -> list[TestText]:
    """The packaged sets, then those of a folder; a set of both is the packaged one."""
    texts = []
    for name in PACKAGED:
        packaged = load_testset(name, "en", "de")
        texts.append(TestText(f"{name} (packaged)", packaged.sources, packaged.references, len(packaged), True))
    for path in sorted(folder.glob("*.en.gz")) if folder else []:
        name = path.name.removesuffix(".en.gz")
        sources, references = read_text(path), read_text(path.with_name(f"{name}.de.gz"))
        if len(sources) != len(references):
            raise ValueError(f"{path}: expected as many lines as {name}.de.gz, found {len(sources)}, {len(references)}")
        if name not in PACKAGED:
            texts.append(TestText(name, sources, references, len(sources)))
    return texts


def open_model(folder: Path) -> Translate:
    """A function from texts and a number of beams to translations, in order."""
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    search = _open_marian(folder) if kind == "marian" else _open_llama(folder)

    def translate(sources: Sequence[str], beams: int) -> list[str]:
        outputs = [""] * len(sources)
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        while order:
            most = max(1, BATCH_PIECES // beams // max(8, len(sources[order[-1]]) // 3))
            part, order = order[-most:], order[:-most]
            for index, text in zip(part, search([sources[i] for i in part], beams), strict=True):
                outputs[index] = text
        return outputs

    return translate


def _open_marian(folder: Path) -> Translate:
    from transformers import MarianMTModel, MarianTokenizer

    tokenizer: Any = MarianTokenizer.from_pretrained(folder)
    model: Any = MarianMTModel.from_pretrained(folder, dtype=torch.float32).eval()

    def search(sources: Sequence[str], beams: int) -> list[str]:
        inputs = tokenizer(list(sources), return_tensors="pt", padding=True, truncation=True, max_length=250)
        longest = min(250, inputs["input_ids"].shape[1] * 2 + 10)
        with torch.inference_mode():
            ids = model.generate(**inputs, num_beams=beams, max_length=longest)
        return list(tokenizer.batch_decode(ids, skip_special_tokens=True))

    return search


def _open_llama(folder: Path) -> Translate:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left")
    model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def search(sources: Sequence[str], beams: int) -> list[str]:
        chats = [[{"role": "user", "content": source}] for source in sources]
        prompts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs.pop("token_type_ids", None)
        start = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            ids = model.generate(**inputs, num_beams=beams, max_length=None, max_new_tokens=min(240, start * 2 + 10))
        return list(tokenizer.batch_decode(ids[:, start:], skip_special_tokens=True))

    return search


def score(outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Corpus ``chrf`` and ``bleu``, 0 to 100."""
    return {
        "chrf": CHRF().corpus_score(outputs, [references]).score,
        "bleu": BLEU().corpus_score(outputs, [references]).score,
    }


def signatures() -> dict[str, str]:
    """SacreBLEU's signature of each metric."""
    chrf, bleu = CHRF(), BLEU()
    chrf.corpus_score(["a"], [["a"]])
    bleu.corpus_score(["a"], [["a"]])
    return {"chrf": str(chrf.get_signature()), "bleu": str(bleu.get_signature())}


def system_outputs(folder: Path | None, text: TestText) -> dict[str, tuple[str, ...]]:
    """The outputs of other systems for the lines of a test set."""
    name = text.name.removesuffix(" (packaged)")
    name = SYSTEM_SETS.get(name, name)
    found = {}
    for path in sorted(folder.glob(f"{name}.*.de.gz")) if folder else []:
        lines = read_text(path)
        if len(lines) == text.of:
            found[path.name.removeprefix(f"{name}.").removesuffix(".de.gz")] = lines[: len(text.sources)]
    return found


def translate_once(out: Path, text: TestText, model: str, search: str, translate: Translate) -> tuple[list[str], float]:
    """Translations, from OUT if they are there, and the seconds that they took (0 if they were there)."""
    path = out / f"{text.name.split(' ')[0]}{'-packaged' if ' ' in text.name else ''}.{model}.{search}.txt"
    if path.exists():
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        if len(lines) >= len(text.sources):
            return lines[: len(text.sources)], 0.0
    start = time.perf_counter()
    lines = [line.replace("\n", " ") for line in translate(text.sources, BEAMS[search])]
    seconds = time.perf_counter() - start
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return lines, seconds


def evaluate(
    out: Path, models: dict[str, Path], texts: list[TestText], systems: Path | None, lines: int, beam_lines: int
) -> list[dict[str, Any]]:
    """One row for each test set, system and search; scores.json and scores.md are written after each set."""
    out.mkdir(parents=True, exist_ok=True)
    opened = {name: open_model(folder) for name, folder in models.items()}
    rows: list[dict[str, Any]] = []
    for whole in texts:
        for search, count in ((GREEDY, lines), (BEAM, beam_lines)):
            text = whole if whole.packaged else whole.first(count)
            common = {"set": text.name, "lines": len(text.sources), "of": text.of}
            for name, translate in opened.items():
                outputs, seconds = translate_once(out, text, name, search, translate)
                rows.append({**common, "system": name, "search": search, **score(outputs, text.references)})
                print({**rows[-1], "seconds": round(seconds, 1)}, flush=True)
            if search == GREEDY:
                others = {COPY: text.sources, **system_outputs(systems, text)}
                rows += [
                    {**common, "system": name, "search": "", **score(outputs, text.references)}
                    for name, outputs in others.items()
                ]
        write_results(out, rows)
    return rows


def write_results(out: Path, rows: list[dict[str, Any]]) -> None:
    """scores.json and scores.md."""
    content = {"signatures": signatures(), "rows": rows}
    (out / "scores.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "scores.md").write_text(markdown_table(content), encoding="utf-8", newline="\n")


def markdown_table(content: dict[str, Any]) -> str:
    """The rows, then the signatures."""
    lines = ["| test set | lines | system | search | chrF | BLEU |", "|---|---|---|---|---|---|"]
    for row in content["rows"]:
        count = f"{row['lines']:,}" if row["lines"] == row["of"] else f"first {row['lines']:,} of {row['of']:,}"
        scores = f"{row['chrf']:.1f} | {row['bleu']:.1f}"
        lines.append(f"| {row['set']} | {count} | {row['system']} | {row['search']} | {scores} |")
    lines += ["", *(f"{name}: `{signature}`" for name, signature in content["signatures"].items()), ""]
    return "\n".join(lines)


def main() -> None:
    """Command line; see the module's description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--tests", type=Path, help="a folder of test sets besides the packaged ones")
    parser.add_argument("--systems", type=Path, help="a folder of other systems' outputs")
    parser.add_argument("--sets", nargs="+", help="only these test sets")
    parser.add_argument("--lines", type=int, default=1 << 30, help="of each test set in --tests, greedy")
    parser.add_argument("--beam-lines", type=int, default=1 << 30, help="of each test set in --tests, with a beam")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    models = {name: Path(folder) for name, _, folder in (entry.partition("=") for entry in arguments.model)}
    texts = [text for text in read_testsets(arguments.tests) if not arguments.sets or text.name in arguments.sets]
    evaluate(arguments.out, models, texts, arguments.systems, arguments.lines, arguments.beam_lines)


if __name__ == "__main__":
    main()
