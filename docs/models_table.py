"""Makes the table of `docs/models.md` from the code: architectures, recipes, sources, precisions, what is tested.

    PYTHONPATH=. python docs/models_table.py          # writes it
    PYTHONPATH=. python docs/models_table.py --check  # status 1 if it isn't what the code says

In: edgekit's readers, schemes and recipes, and the configurations that the parity tests go through. Out: the part of
models.md between two comments.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from edgekit.bundle.consistency import SCHEMES
from edgekit.export import read_causal_lm, read_seq2seq
from edgekit.export.gguf_config import FAMILIES
from edgekit.recipes import load_recipes
from tests.export import optimum_models, test_read_causal_lm
from tests.graph import test_bergamot_parity, test_marian_parity, test_seq2seq_parity

DOCUMENT = Path(__file__).parent / "models.md"
BEGIN, END = "<!-- made by models_table.py -->\n", "<!-- end -->\n"
HUB = "hub, directory"


def table() -> str:
    """The table in Markdown, one row an architecture."""
    rows = ["| architecture | recipes | sources | precisions | compared with |", "|---|---|---|---|---|"]
    return "\n".join([*rows, *(f"| {' | '.join(row)} |" for row in _rows())]) + "\n"


def _rows() -> Iterator[tuple[str, ...]]:
    yield from (
        _row("marian", HUB, "seq2seq", len(test_marian_parity.CONFIGURATIONS)),
        _row(
            "bergamot", "directory, registry, PyPI", "seq2seq", len(test_bergamot_parity.STUDENTS), "Marian's equations"
        ),
    )
    for model_type in read_seq2seq.ARCHITECTURES:
        tested = sum(model == model_type for model, *_ in test_seq2seq_parity.CONFIGURATIONS.values())
        yield _row(model_type, HUB, "seq2seq", tested)
    for model_type in read_causal_lm.ARCHITECTURES:
        in_gguf = any(family["model_type"] == model_type for family in FAMILIES.values())
        tested = test_read_causal_lm.CONFIGURATIONS_OF[model_type]
        yield _row(model_type, f"{HUB}, GGUF" if in_gguf else HUB, "causal-lm", tested)
    for model_type in optimum_models.MODELS:
        kind = "seq2seq" if model_type in optimum_models.SEQ2SEQ else "causal-lm"
        yield _row(model_type, "hub, directory (optimum), ONNX", kind, 1)


def _row(model_type: str, sources: str, kind: str, tested: int, reference: str = "transformers") -> tuple[str, ...]:
    recipes = ", ".join(f"`{recipe.name}`" for recipe in load_recipes() if recipe.family == model_type) or "none"
    compared = f"{reference}, {tested} configuration{'s' * (tested != 1)}"
    return f"`{model_type}`", recipes, sources, ", ".join(SCHEMES[kind]), compared


def document() -> str:
    """models.md with the table that the code gives."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    made = document()
    if "--check" in sys.argv:
        sys.exit(made != DOCUMENT.read_text(encoding="utf-8"))
    DOCUMENT.write_text(made, encoding="utf-8")
