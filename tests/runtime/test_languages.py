"""Languages by their codes: which ids stand around a text and begin its translation, and what is refused."""

import dataclasses

import pytest

from edgekit.bundle.manifest import Languages, LanguageTokens, Manifest
from edgekit.errors import BundleError, InputError
from edgekit.runtime.languages import Prompt, find_prompt
from tests.bundle.test_manifest import GOOD

EOS, START = GOOD.generation.eos_token_id, GOOD.generation.start_token_id
TOKENS = LanguageTokens({"eng_Latn": 3, "deu_Latn": 4, "deu_Goth": 5}, "prefix", "first")
MANY = dataclasses.replace(GOOD, languages=Languages(None, None), language_tokens=TOKENS)


def changed(**tokens):
    return dataclasses.replace(MANY, language_tokens=dataclasses.replace(TOKENS, **tokens))


def test_a_model_of_one_pair_has_its_eos_behind_a_text_and_its_own_start():
    prompt = find_prompt(GOOD)
    assert prompt == Prompt((), (EOS,), (START,))
    assert (prompt.around([7, 8]), prompt.length) == ([7, 8, EOS], 1)
    generation = dataclasses.replace(GOOD.generation, forced_first_token_id=3, source_prefix=(2,))
    prompt = find_prompt(dataclasses.replace(GOOD, generation=generation))
    assert (prompt.around([7]), prompt.start_ids, prompt.length) == ([2, 7, EOS], (START, 3), 2)


def test_languages_stand_where_the_manifest_says():
    assert find_prompt(MANY, "eng_Latn", "deu_Latn") == Prompt((3,), (EOS,), (START, 4))
    mbart = changed(source="suffix", target="start")
    assert find_prompt(mbart, "deu_Goth", "eng_Latn") == Prompt((), (EOS, 5), (3,))


def test_the_manifests_own_languages_are_taken_unless_others_are_named():
    own = dataclasses.replace(MANY, languages=Languages("eng_Latn", "deu_Latn"))
    assert find_prompt(own) == find_prompt(MANY, "eng_Latn", "deu_Latn")
    assert find_prompt(own, target_language="deu_Goth").start_ids == (START, 5)


REFUSED = {
    "no target": (MANY, ("eng_Latn", None), "this model has 3 languages: name the target language, one of eng_Latn, "),
    "an unknown code": (MANY, ("eng_Latn", "de"), r"no target language 'de'; did you mean deu_Latn, deu_Goth\?"),
    "a misspelt code": (MANY, ("eng_latin", "deu_Latn"), r"no source language 'eng_latin'; did you mean eng_Latn"),
    "a code like none": (MANY, ("?", "deu_Latn"), r"this model has no source language '\?'$"),
    "another pair": (GOOD, (None, "xx"), r"this model has no target language 'xx': its target language is de"),
    "a choice of a model without": (
        dataclasses.replace(GOOD, languages=Languages(None, None)),
        ("en", None),
        "this model has no source language 'en': its languages can't be chosen",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_language_that_the_model_does_not_have_is_refused_in_one_line(name):
    manifest, codes, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        find_prompt(manifest, *codes)


BROKEN = {
    "an id outside the vocabulary": ({"ids": {"xx": 10**6}}, "language_tokens.ids: expected ids below"),
    "no languages": ({"ids": {}}, "language_tokens.ids: expected an object whose values are integers from 0"),
    "another place": ({"source": "middle"}, "language_tokens.source: expected prefix or suffix, found 'middle'"),
    "another beginning": ({"target": "last"}, "language_tokens.target: expected first or start, found 'last'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_manifest_whose_languages_make_no_sense_is_refused(name):
    tokens, message = BROKEN[name]
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(changed(**tokens).to_json(), "bundle.json")


def test_languages_come_back_from_the_manifests_json():
    assert Manifest.from_json(MANY.to_json(), "bundle.json") == MANY
