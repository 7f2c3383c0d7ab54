"""A pair that no model translates: by two models, one behind the other."""

import json
import shutil

import pytest

import edgekit
from edgekit.serve.models import Models, ServedTranslator, route_name
from edgekit.serve.request_error import RequestError
from tests.serve.server_process import ServerProcess


@pytest.fixture(scope="module")
def german_french(embedded_int8, tmp_path_factory):
    """The embedded model under other languages: what it makes of German is not French, but always the same."""
    bundle = tmp_path_factory.mktemp("pivot") / "marian-de-fr-int8"
    shutil.copytree(embedded_int8, bundle)
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    manifest |= {"name": "marian-de-fr", "languages": {"source": "de", "target": "fr"}}
    (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    return bundle


@pytest.fixture(scope="module")
def server(embedded_int8, german_french):
    with ServerProcess("edgekit", "serve", embedded_int8, german_french, "--port", "0", "--workers", "1") as found:
        yield found


def served(*pairs):
    """Models named by their pair, and a number where it comes again."""
    found = []
    for pair in pairs:
        source, target = pair.rstrip("2").split("-")
        found.append(ServedTranslator(pair, source, target, "int8", None))
    return Models(found)


def test_two_models_translate_what_none_does(server, embedded_int8, german_french):
    texts = ["Good morning!", "The house is old."]
    with edgekit.pivot(edgekit.load(embedded_int8), edgekit.load(german_french)) as translator:
        expected = translator.translate(texts)
    status, answer = server.post("/translate", {"q": texts, "source": "en", "target": "fr"})
    assert (status, answer["translatedText"]) == (200, expected)
    assert answer["model"] == "marian-en-de-int8+marian-de-fr-int8"
    html = {"q": f"<b>{texts[0]}</b>", "format": "html", "source": "en", "target": "fr", "model": answer["model"]}
    assert server.post("/translate", html)[1]["translatedText"] == f"<b>{expected[0]}</b>"


def test_the_pair_is_among_the_languages_and_in_the_counts_of_both(server):
    targets = {language["code"]: language["targets"] for language in server.get("/languages")[1]}
    assert targets == {"en": ["de", "fr"], "de": ["fr"], "fr": []}
    before = server.get("/metrics")[1]
    assert server.post("/translate", {"q": "Hello", "source": "en", "target": "fr"})[0] == 200
    changed = set(server.get("/metrics")[1].decode().splitlines()) - set(before.decode().splitlines())
    counted = {line.split('"')[1] for line in changed if line.startswith("edgekit_characters_total")}
    assert counted == {"marian-en-de-int8", "marian-de-fr-int8"}


def test_a_model_of_the_pair_goes_before_two():
    models = served("pt-en", "en-de", "pt-de")
    assert route_name(models.find_route("pt", "de", None)) == "pt-de"
    assert route_name(served("pt-en", "en-de", "en-de2").find_route("pt", "de", "pt-en+en-de2")) == "pt-en+en-de2"


def test_no_pair_is_made_of_three_or_of_there_and_back():
    models = served("pt-en", "en-de", "de-en", "de-fr")
    assert models.languages == {"pt": ["en", "de"], "en": ["de", "fr"], "de": ["en", "fr"], "fr": []}
    with pytest.raises(RequestError, match=r"one of pt to en, pt to de, en to de, .*, not 'pt' to 'fr'$"):
        models.find_route("pt", "fr", None)
    with pytest.raises(RequestError, match=r"not 'en' to 'en'$"):
        models.find_route("en", "en", None)
    with pytest.raises(RequestError, match=r"^model must be one of pt-en\+en-de for pt to de$"):
        models.find_route("pt", "de", "en-de")
