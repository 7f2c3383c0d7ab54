"""docs/models.md says what the code supports."""

import re

import pytest

from docs import models_table
from edgekit.export.sources.repository_files import CAUSAL_LM_TYPES, SEQ2SEQ_TYPES
from edgekit.recipes import load_recipes


def test_the_table_is_what_the_code_gives():
    expected = models_table.document()
    assert models_table.DOCUMENT.read_text(encoding="utf-8") == expected, "run docs/models_table.py"


def test_every_architecture_has_a_row_and_every_recipe_stands_in_one():
    rows = models_table.table().splitlines()[2:]
    natively = ["marian", "bergamot", *SEQ2SEQ_TYPES, *CAUSAL_LM_TYPES]
    assert [row.split("`")[1] for row in rows][: len(natively)] == natively
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[2])}
    assert named == {recipe.name for recipe in load_recipes()}


@pytest.mark.parametrize("architecture", SEQ2SEQ_TYPES)
def test_no_row_claims_a_comparison_that_no_test_makes(architecture):
    (row,) = [row for row in models_table.table().splitlines() if row.startswith(f"| `{architecture}`")]
    assert re.search(r"transformers, [1-9]\d* configurations?", row)
