"""The same weights in each engine's form: ``python models.py FORM SOURCE DIRECTORY [EXTRA]``.

FORM is ``opus-shape`` (SOURCE is not read: a random MarianMT checkpoint of opus-mt-en-de's shape), ``t5-shape`` or
``nllb-shape`` (the same of T5-small's and NLLB-200-600M's, see `shapes`), ``edgekit-int8`` or
``edgekit-fp32`` (a bundle), ``edgekit-int8-static`` (SOURCE is the fp32 one, calibrated on the first lines of the text
EXTRA), ``edgekit-fp32-shortlist`` (learned from the text EXTRA), ``edgekit-int8-shortlist`` (SOURCE is that one,
calibrated), ``ctranslate2-int8`` or ``ctranslate2-fp32``, ``ctranslate2-int8-vmap`` (with the shortlist of the bundle
EXTRA as vocabulary map), ``optimum-fp32`` (what ``ORTModelForSeq2SeqLM`` exports by default) or ``optimum-int8``
(SOURCE is the fp32 one; dynamic quantisation with optimum's configuration for AVX-512 VNNI). Each needs its engine
installed. `compare.py` calls this for what is missing.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = Path(__file__).parents[1] / "export" / "opus_mt_shape.py"
# No sentence ends by itself, so that all engines write as many tokens.
NEVER = -1e4
CALIBRATION_LINES = 64  # as `edgekit export` takes


def write_opus_shape(source: Path, directory: Path) -> None:
    """75 M parameters, 58,101 pieces; EOS is never the likeliest id."""
    from safetensors.numpy import load_file, save_file

    spec = importlib.util.spec_from_file_location("opus_mt_shape", SHAPE)
    assert spec is not None
    assert spec.loader is not None
    shape = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shape)
    shape.write_checkpoint(directory)
    weights = load_file(directory / "model.safetensors")
    weights["final_logits_bias"][:, 0] = NEVER
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    (directory / "tokenizer_config.json").write_text('{"source_lang": "en", "target_lang": "de"}')


def write_shape(name: str) -> Callable[[Path, Path], None]:
    """A checkpoint that `shapes` makes; torch is imported by who wants one."""

    def write(source: Path, directory: Path) -> None:
        import shapes

        getattr(shapes, name)(directory)

    return write


def export_edgekit(precision: str) -> Callable[[Path, Path], None]:
    """A checkpoint or a recipe's name to a bundle."""

    def convert(source: Path, directory: Path) -> None:
        from edgekit.export import export

        directory.rmdir()
        export(str(source), precision, directory)

    return convert


def calibrate_edgekit(source: Path, directory: Path, text: Path) -> None:
    """A float bundle to one with calibrated activations."""
    from edgekit.export.learned_shortlist import read_lines
    from edgekit.quantize.bundle import quantize_bundle
    from edgekit.quantize.calibrate import calibrate
    from edgekit.quantize.scheme import named_scheme

    directory.rmdir()
    calibration = calibrate(source, read_lines(text)[:CALIBRATION_LINES])
    quantize_bundle(source, output=directory, scheme=named_scheme("seq2seq", "int8-static"), calibration=calibration)


def export_shortlist(source: Path, directory: Path, text: Path) -> None:
    """A checkpoint to a float bundle with a shortlist learned from a text."""
    from edgekit.export import export

    directory.rmdir()
    export(str(source), "fp32", directory, shortlist_text=text)


def convert_ctranslate2(precision: str) -> Callable[[Path, Path], None]:
    """CTranslate2's own converter."""

    def convert(source: Path, directory: Path) -> None:
        from ctranslate2.converters import TransformersConverter

        _keep_learned_start(source)
        TransformersConverter(str(source)).convert(str(directory), quantization=precision, force=True)

    return convert


def convert_ctranslate2_vmap(source: Path, directory: Path, bundle: Path) -> None:
    """The same in int8 with a bundle's shortlist: a line for each source piece, and one for what is always possible."""
    from ctranslate2.converters import TransformersConverter

    _keep_learned_start(source)
    names = json.loads((source / "vocab.json").read_text("utf-8"))
    pieces = {number: piece for piece, number in names.items()}
    with np.load(bundle / "shortlist.npz") as arrays:
        lists = np.split(arrays["target_ids"], arrays["offsets"][1:-1].astype(np.int64))
    # Every source ends with this piece, but CTranslate2 looks up what stands before a tab, and nothing is everywhere.
    always = {0, *lists[names["</s>"]].tolist()}
    lines = ["\t" + " ".join(pieces[i] for i in sorted(always))]
    lines += [f"{pieces[i]}\t" + " ".join(pieces[j] for j in row.tolist()) for i, row in enumerate(lists) if len(row)]
    with tempfile.TemporaryDirectory() as place:
        vmap = Path(place) / "vmap.txt"
        vmap.write_text("\n".join(lines) + "\n", encoding="utf-8")
        TransformersConverter(str(source)).convert(str(directory), vmap=str(vmap), quantization="int8", force=True)


def _keep_learned_start(source: Path) -> None:
    """CTranslate2's loader of Marian starts from zeros, which the row of ``<pad>`` is in opus-mt's models.

    Where a checkpoint has another row there, leaving it out would change every translation: it is kept, as a start
    token that is never produced.
    """
    from ctranslate2.converters import transformers as converters
    from safetensors.numpy import load_file

    config = json.loads((source / "config.json").read_text("utf-8"))
    start = config["decoder_start_token_id"]
    if (
        config["model_type"] != "marian"
        or not load_file(source / "model.safetensors")["model.shared.weight"][start].any()
    ):
        return

    class LearnedStart(converters.MarianMTLoader):
        def get_model_spec(self, model: Any) -> Any:
            model.final_logits_bias[:, start] = NEVER
            return super().get_model_spec(model)

        def set_config(self, config: Any, model: Any, tokenizer: Any) -> None:
            super().set_config(config, model, tokenizer)
            config.decoder_start_token = tokenizer.convert_ids_to_tokens(start)

        def set_decoder(self, spec: Any, decoder: Any) -> None:
            super().set_decoder(spec, decoder)
            spec.start_from_zero_embedding = False

        def get_vocabulary(self, model: Any, tokenizer: Any) -> Any:
            return converters.BartLoader.get_vocabulary(self, model, tokenizer)

        def _remove_pad_weights(self, spec: Any) -> None:
            pass

    converters.register_loader("MarianConfig")(LearnedStart)


def export_optimum(source: Path, directory: Path) -> None:
    """What optimum exports by itself."""
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    ORTModelForSeq2SeqLM.from_pretrained(source, export=True).save_pretrained(directory)


def quantize_optimum(source: Path, directory: Path) -> None:
    """Dynamic int8 of each of the graphs that optimum exported."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
    for graph in sorted(source.glob("*.onnx")):
        ORTQuantizer.from_pretrained(source, file_name=graph.name).quantize(settings, directory, file_suffix="")
    for file in source.glob("*.json"):
        shutil.copy(file, directory)


FORMS: dict[str, Callable[..., None]] = {
    "opus-shape": write_opus_shape,
    "t5-shape": write_shape("t5_small"),
    "nllb-shape": write_shape("nllb_600m"),
    "edgekit-int8": export_edgekit("int8"),
    "edgekit-fp32": export_edgekit("fp32"),
    "edgekit-int8-static": calibrate_edgekit,
    "edgekit-fp32-shortlist": export_shortlist,
    "edgekit-int8-shortlist": calibrate_edgekit,
    "ctranslate2-int8-vmap": convert_ctranslate2_vmap,
    "ctranslate2-int8": convert_ctranslate2("int8"),
    "ctranslate2-fp32": convert_ctranslate2("float32"),
    "optimum-fp32": export_optimum,
    "optimum-int8": quantize_optimum,
}


def main(form: str, source: str, directory: str, *extra: str) -> None:
    """Converts into a directory, which appears whole or not at all."""
    staged = Path(f"{directory}.part")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    FORMS[form](Path(source), staged, *map(Path, extra))
    staged.rename(directory)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in FORMS:
        sys.exit(__doc__)
    main(*sys.argv[1:])
