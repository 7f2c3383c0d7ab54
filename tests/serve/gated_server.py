"""A server whose translation model waits until a file exists, and whose language model takes its time for a token.

``python -m tests.serve.gated_server LM_BUNDLE GATE LIMITS``: limits as JSON. The translation of a text is the text in
capitals; a text with ``fault`` in it makes the model fail.
"""

import json
import sys
import time
from pathlib import Path

from edgekit.serve.api_keys import ApiKeys
from edgekit.serve.limits import Limits
from edgekit.serve.models import Models, ServedTranslator
from edgekit.serve.server import serve
from edgekit.serve.service import Service

TOKEN_SECONDS = 0.02


class GatedTranslator:
    def __init__(self, gate):
        self._gate = gate

    def translate(self, texts):
        while not self._gate.exists():
            time.sleep(0.005)
        if any("fault" in text for text in texts):
            raise ValueError(f"this message quotes the text: {texts}")
        return [text.upper() for text in texts]


def slow(stream_ids):
    def slowly(*args, **options):
        return each(stream_ids(*args, **options))

    def each(ids):
        for token_id in ids:
            time.sleep(TOKEN_SECONDS)
            yield token_id

    return slowly


def main(bundle, gate, limits):
    (generator,) = Models.load([Path(bundle)]).generators
    generator.generator.stream_ids = slow(generator.generator.stream_ids)
    translator = ServedTranslator("gated", "en", "de", "fp32", GatedTranslator(Path(gate)))
    service = Service(Models([translator, generator]), Limits(**json.loads(limits)), ApiKeys(), workers=1)
    serve(service, "127.0.0.1", 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
