"""The same weights in each engine's form: ``python models.py FORM SOURCE DIRECTORY``.

FORM is ``opus-shape`` (SOURCE is not read: a random MarianMT checkpoint of opus-mt-en-de's shape), ``edgekit-int8`` or
``edgekit-fp32`` (a bundle), ``ctranslate2-int8`` or ``ctranslate2-fp32``, ``optimum-fp32`` (what
``ORTModelForSeq2SeqLM`` exports by default) or ``optimum-int8`` (SOURCE is the fp32 one; dynamic quantisation with
optimum's configuration for AVX-512 VNNI). Each needs its engine installed. `compare.py` calls this for what is missing.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

SHAPE = Path(__file__).parents[1] / "export" / "opus_mt_shape.py"
# No sentence ends by itself, so that all engines write as many tokens.
NEVER = -1e4


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


def export_edgekit(precision: str) -> Callable[[Path, Path], None]:
    """A checkpoint or a recipe's name to a bundle."""

    def convert(source: Path, directory: Path) -> None:
        from edgekit.export import export

        directory.rmdir()
        export(str(source), precision, directory)

    return convert


def convert_ctranslate2(precision: str) -> Callable[[Path, Path], None]:
    """CTranslate2's own converter."""

    def convert(source: Path, directory: Path) -> None:
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(source)).convert(str(directory), quantization=precision, force=True)

    return convert


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


FORMS: dict[str, Callable[[Path, Path], None]] = {
    "opus-shape": write_opus_shape,
    "edgekit-int8": export_edgekit("int8"),
    "edgekit-fp32": export_edgekit("fp32"),
    "ctranslate2-int8": convert_ctranslate2("int8"),
    "ctranslate2-fp32": convert_ctranslate2("float32"),
    "optimum-fp32": export_optimum,
    "optimum-int8": quantize_optimum,
}


def main(form: str, source: str, directory: str) -> None:
    """Converts into a directory, which appears whole or not at all."""
    staged = Path(f"{directory}.part")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    FORMS[form](Path(source), staged)
    staged.rename(directory)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in FORMS:
        sys.exit(__doc__)
    main(*sys.argv[1:])
