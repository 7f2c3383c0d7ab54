"""docs/bundle-format.md names every key that a manifest may have, every tensor and every port."""

import dataclasses
import re
from pathlib import Path

import pytest

from edgekit.bundle import manifest
from edgekit.bundle.generation import Chat, Generation, LanguageTokens, TextGeneration
from edgekit.bundle.manifest import Manifest
from edgekit.graph.weights_file import stored_tensors

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "bundle-format.md").read_text(encoding="utf-8")
# Whatever stands in code: words, which braces may join.
CODE = " ".join(re.findall(r"```.*?```|`[^`\n]+`", TEXT, re.DOTALL))
NAMED = set(re.findall(r"\w+", CODE))


PARTS = (
    *(
        Manifest,
        Generation,
        TextGeneration,
        Chat,
        LanguageTokens,
        manifest.Languages,
        manifest.Source,
        manifest.Quantization,
    ),
    *(manifest.TensorQuantization, manifest.Port, manifest.Graph, manifest.StateTensor, manifest.TokenizerFiles),
    *(manifest.ShortlistFile, manifest.SelfCheck, manifest.FileRecord),
)


@pytest.mark.parametrize("part", PARTS)
def test_every_key_of_a_manifest_is_explained(part):
    assert {field.name for field in dataclasses.fields(part)} <= NAMED


@pytest.mark.parametrize(
    "choices",
    [manifest.KINDS, manifest.TOKENIZER_FORMS, manifest.GRANULARITIES, manifest.STATE_KINDS, manifest.INITIAL_VALUES],
)
def test_every_choice_is_explained(choices):
    assert all(re.search(rf"`\"?{choice}\"?`", TEXT) for choice in choices)


def test_the_schema_version_is_the_one_explained():
    assert TEXT.startswith(f"# The bundle format, schema version {manifest.SCHEMA_VERSION}\n")


def test_every_tensor_and_port_of_a_bundle_is_explained(embedded_int8):
    names = [name.removesuffix("_scale") for name in stored_tensors(embedded_int8)]
    read = Manifest.from_json((embedded_int8 / "bundle.json").read_text(encoding="utf-8"), "bundle.json")
    ports = [
        port.name for name in ("encoder", "decoder") for port in (*read.graphs[name].inputs, *read.graphs[name].outputs)
    ]
    parts = {part for name in names for part in name.split(".") if not part.isdigit()}
    assert parts <= NAMED
    plain = {re.sub(r"_\d+$", "", name).removeprefix("past_").removeprefix("present_") for name in ports}
    assert plain - {"key", "value"} <= NAMED | {"cross_key", "cross_value"}
    assert "`cross_key_{layer}` and `cross_value_{layer}`" in TEXT


def test_its_links_lead_somewhere():
    headings = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in headings, target
        else:
            assert (ROOT / "docs" / target).exists(), target
