"""The web page against edgekit, in a headless Chromium, served by a static file server."""

import functools
import http.server
import threading

import pytest

from tests.examples.programs import (
    BUILD,
    EXAMPLES,
    ODD_LINES,
    ROOT,
    chromium,
    expected,
    need,
    need_program,
    run,
    sentences,
)

TYPE_INTO_PAGE = ROOT / "tests" / "examples" / "type_into_page.mjs"


class StaticFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Nothing: what a browser fetched is no result of a test."""


@pytest.fixture(scope="module")
def address():
    files = functools.partial(StaticFiles, directory=EXAMPLES)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def type_into_page(address, bundle, text):
    need(EXAMPLES / "web" / "node_modules" / "onnxruntime-web")
    url = f"{address}/web/?bundle=../build/{bundle}"
    return run(need_program("node"), TYPE_INTO_PAGE, chromium(), url, text=text)


# A model whose activations are quantised as they come (marian in int8) rounds otherwise in WebAssembly.
@pytest.mark.parametrize(("bundle", "pair"), [("firefox-en-pt-int8", "en-pt"), ("marian-en-de-fp32", "en-de")])
def test_translations_in_a_browser_equal_edgekits(address, bundle, pair):
    texts = (*sentences(pair, 50), *ODD_LINES)
    need(BUILD / bundle)
    result = type_into_page(address, bundle, "\n".join(texts))
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n") == list(expected(bundle, texts))


def test_a_bundle_that_is_not_there_is_said_in_the_page(address):
    result = type_into_page(address, "nothing", "Hello.")
    assert result.returncode == 1
    assert "/build/nothing/weights.safetensors: 404" in result.stderr
