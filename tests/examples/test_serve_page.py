"""The page of `edgekit serve` in a headless Chromium: its choice of languages is what the server can do."""

import json
import shutil

import pytest

import edgekit
from tests.examples.programs import BUILD, EXAMPLES, ROOT, chromium, need, need_program, output
from tests.serve.server_process import ServerProcess

TRANSLATE_ON_PAGE = ROOT / "tests" / "examples" / "translate_on_page.mjs"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """English to German, and one that says that it translates German to Portuguese."""
    first = need(BUILD / "marian-en-de-fp32")
    second = tmp_path_factory.mktemp("bundles") / "de-pt"
    shutil.copytree(need(BUILD / "firefox-en-pt-int8"), second)
    manifest = json.loads((second / "bundle.json").read_text(encoding="utf-8"))
    manifest |= {"name": "de-pt", "languages": {"source": "de", "target": "pt"}}
    (second / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    return first, second


@pytest.fixture(scope="module")
def server(bundles):
    with ServerProcess("edgekit", "serve", *bundles, "--port", "0", "--workers", "1") as found:
        yield found


def on_page(server, pair, text):
    need(EXAMPLES / "web" / "node_modules" / "playwright-core")
    return json.loads(output(need_program("node"), TRANSLATE_ON_PAGE, chromium(), server.url, pair, text=text))


def test_a_pair_of_two_models_can_be_chosen_and_says_which_two(server, bundles):
    found = on_page(server, "en → pt", "Good morning!")
    assert found["pairs"] == ["en → de", "en → pt", "de → pt"]
    assert found["name"] == ["marian-en-de-fp32+de-pt-int8"]
    with edgekit.pivot(*map(edgekit.load, bundles)) as translator:
        assert found["text"] == [translator.translate("Good morning!")]


def test_a_pair_of_one_model_is_translated_by_it(server, bundles):
    found = on_page(server, "en → de", "Good morning!")
    assert (found["name"], found["text"]) == (
        ["marian-en-de-fp32"],
        [edgekit.load(bundles[0]).translate("Good morning!")],
    )
