"""Time, memory and size of exporting a MarianMT checkpoint of opus-mt-en-de's shape to int8.

The checkpoint has random weights: 6 + 6 layers of width 512, feed-forward 2048, 8 heads, a joint vocabulary of 58,101
pieces (the embedded model's SentencePiece pieces and made-up ones), tied embeddings: 75 M parameters. What is timed is
``edgekit export DIR`` as a process of its own, start to end; memory is that process's peak resident set.

    python benchmarks/export/opus_mt_shape.py [--keep DIR]
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

EMBEDDED = Path(__file__).parents[2] / "models" / "marian-en-de"
VOCABULARY, WIDTH, FFN, LAYERS = 58_101, 512, 2048, 6


def write_checkpoint(directory: Path) -> int:
    """Writes the checkpoint; returns its number of parameters."""
    config = json.loads((EMBEDDED / "config.json").read_text())
    pad = VOCABULARY - 1
    config |= {
        "vocab_size": VOCABULARY,
        "decoder_vocab_size": VOCABULARY,
        "d_model": WIDTH,
        "encoder_layers": LAYERS,
        "decoder_layers": LAYERS,
        "encoder_attention_heads": 8,
        "decoder_attention_heads": 8,
        "encoder_ffn_dim": FFN,
        "decoder_ffn_dim": FFN,
        "max_position_embeddings": 512,
        "activation_function": "swish",
        "pad_token_id": pad,
        "decoder_start_token_id": pad,
    }
    (directory / "config.json").write_text(json.dumps(config))
    generation = {"bad_words_ids": [[pad]], "decoder_start_token_id": pad, "eos_token_id": 0, "pad_token_id": pad}
    (directory / "generation_config.json").write_text(json.dumps(generation | {"max_length": 512}))
    for name in ("source.spm", "target.spm"):
        shutil.copy(EMBEDDED / name, directory / name)
    pieces = [piece for piece in json.loads((EMBEDDED / "vocab.json").read_text()) if piece != "<pad>"]
    pieces += [f"▁piece{i}" for i in range(VOCABULARY - 1 - len(pieces))]
    (directory / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate([*pieces, "<pad>"])}))
    tensors = random_tensors()
    save_file(tensors, directory / "model.safetensors")
    return sum(tensor.size for tensor in tensors.values())


def random_tensors() -> dict[str, np.ndarray]:
    """MarianMT's tensors by name, normal with standard deviation 0.02, norms at one."""
    random = np.random.default_rng(0)
    shapes = {"model.shared.weight": (VOCABULARY, WIDTH), "final_logits_bias": (1, VOCABULARY)}
    for side, attentions in (("encoder", ("self_attn",)), ("decoder", ("self_attn", "encoder_attn"))):
        for layer in range(LAYERS):
            block = f"model.{side}.layers.{layer}"
            linears = {"fc1": (FFN, WIDTH), "fc2": (WIDTH, FFN)}
            linears |= {f"{a}.{p}_proj": (WIDTH, WIDTH) for a in attentions for p in ("q", "k", "v", "out")}
            norms = ["final_layer_norm", *(f"{attention}_layer_norm" for attention in attentions)]
            for name, shape in linears.items():
                shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
            for name in norms:
                shapes |= {f"{block}.{name}.weight": (WIDTH,), f"{block}.{name}.bias": (WIDTH,)}
    return {
        name: np.ones(shape, np.float32)
        if name.endswith("norm.weight")
        else random.normal(0, 0.02, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def main() -> None:
    """Writes the checkpoint, exports it, prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="leave checkpoint and bundle in this new directory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.keep or Path(temporary)
        checkpoint, bundle = directory / "opus-shape", directory / "opus-shape-int8"
        checkpoint.mkdir(parents=True)
        parameters = write_checkpoint(checkpoint)
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "edgekit", "export", str(checkpoint), "-o", str(bundle)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        size_bytes = sum(file.stat().st_size for file in bundle.iterdir())
    result = {
        "parameters_m": round(parameters / 1e6, 1),
        "export_s": round(seconds, 1),
        "peak_rss_mb": round(peak_kib * 1024 / 1e6),
        "bundle_mb": round(size_bytes / 1e6, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
