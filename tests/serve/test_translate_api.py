"""LibreTranslate's API: forms and JSON, lists, HTML, models of a pair, keys, and what is refused."""

import pytest

import edgekit
from tests.serve.server_process import ServerProcess

EN_DE = {"source": "en", "target": "de"}


@pytest.fixture(scope="module")
def translator(embedded_int8):
    return edgekit.load(embedded_int8)


def test_a_list_comes_back_as_a_list_in_its_order(server, translator):
    texts = ["Good night!", "", "The house is old.", " ", "Hello"]
    status, answer = server.post("/translate", {"q": texts, **EN_DE})
    expected = [translator.translate(text) if text.strip() else text for text in texts]
    assert (status, answer["translatedText"], answer["model"]) == (200, expected, "marian-en-de-int8")
    assert server.post("/translate", {"q": [], **EN_DE})[1]["translatedText"] == []


def test_a_form_is_as_good_as_json(server, translator):
    form = "q=Gr%C3%BC%C3%9Fe+from+the+garden&source=en&target=de&format=text&alternatives=2"
    kind = "application/x-www-form-urlencoded; charset=utf-8"
    status, _, answer = server.request("POST", "/translate", form, {"content-type": kind})
    assert (status, answer["translatedText"]) == (200, translator.translate("Grüße from the garden"))
    assert answer["alternatives"] == []


def test_html_keeps_its_tags(server, translator):
    html = '<!doctype html>\n<p class="a>b">The house is old.<br>\n Tom &amp; Mary</p><!-- no --><code>let x</code>'
    first, second = map(translator.translate, ("The house is old.", "Tom & Mary"))
    status, answer = server.post("/translate", {"q": html, **EN_DE, "format": "html"})
    expected = html.replace("The house is old.", first).replace("Tom &amp; Mary", second.replace("&", "&amp;"))
    assert (status, answer["translatedText"]) == (200, expected)


def test_a_model_of_a_pair_is_chosen_by_name(server, embedded_fp32):
    text = "The children are playing in the garden."
    status, answer = server.post("/translate", {"q": text, **EN_DE, "model": "marian-en-de-fp32"})
    assert (status, answer["model"]) == (200, "marian-en-de-fp32")
    assert answer["translatedText"] == edgekit.load(embedded_fp32).translate(text)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"q": "x", "source": "auto", "target": "de"}, 400, "does not detect languages; give source, one of en"),
        ({"q": "x", "source": "de", "target": "en"}, 400, "must be languages of one of en to de, not 'de' to 'en'"),
        ({"q": "x", **EN_DE, "model": "other"}, 400, "model must be one of marian-en-de-int8, marian-en-de-fp32"),
        ({"q": "x", **EN_DE, "format": "pdf"}, 400, "format must be text or html"),
        ({"q": 1, **EN_DE}, 400, "q must be a text, found a number"),
        ({"q": {"a": 1}, **EN_DE}, 400, "q must be a text, found an object"),
        ({"q": ["x", None], **EN_DE}, 400, "q[1] must be a text, found nothing"),
        ({"q": "\ud800", **EN_DE}, 400, "q must be Unicode text, found half of a surrogate pair"),
        ({"q": "x", "target": "de"}, 400, "source must be a text, found nothing"),
        ({"source": "en", "target": "de"}, 400, "q must be a text, found nothing"),
        ({"q": ["x"] * 257, **EN_DE}, 400, "q must hold at most 256 texts, found 257"),
        ({"q": "x" * 5001, **EN_DE}, 413, "q must have at most 5000 characters, found 5001"),
        ([1, 2], 400, "the body must be a JSON object in UTF-8"),
    ],
)
def test_what_is_wrong_is_named(server, fields, status, message):
    found, answer = server.post("/translate", fields)
    assert found == status
    assert message in answer["error"]


def test_keys_are_asked_for_and_the_page_is_open(embedded_int8, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# for tests\nfirst key\nsecond\n")
    with ServerProcess(
        "edgekit", "serve", embedded_int8, "--port", "0", "--api-keys", keys, env={"EDGEKIT_API_KEYS": "third"}
    ) as server:
        fields = {"q": "Hello", **EN_DE}
        for key in ("first key", "second", "third"):
            assert server.post("/translate", {**fields, "api_key": key})[0] == 200
            assert server.post("/translate", fields, authorization=f"Bearer {key}")[0] == 200
        for key in ("", "first", "third ", 3, None):
            status, answer = server.post("/translate", {**fields, "api_key": key})
            assert (status, answer["error"][:32]) == (403, "this server needs an API key it ")
        status, answer = server.get("/v1/models")
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert server.get("/metrics")[0] == 401
        assert server.post("/v1/chat/completions", {"model": "x", "messages": []})[0] == 401
        assert [server.get(path)[0] for path in ("/", "/health", "/languages")] == [200, 200, 200]
