"""Two translators as one."""

import asyncio
import dataclasses

import pytest

import edgekit
from edgekit.bundle.manifest import Languages
from edgekit.errors import CancelledError, DeadlineError, InputError
from edgekit.runtime import Cancellation


@pytest.fixture(scope="module")
def pair(embedded_int8):
    """English to German, and a model that pretends to translate from German."""
    first, second = edgekit.load(embedded_int8), edgekit.load(embedded_int8)
    second.manifest = dataclasses.replace(second.manifest, languages=Languages("de", "fr"))
    return first, second


def test_a_pivot_translates_twice(pair):
    first, second = pair
    both = edgekit.pivot(first, second)
    texts = ["Good morning!", "Yes.\n\n  Where is Tom? I am here."]
    expected = second.translate(first.translate(texts))
    assert both.translate(texts) == expected
    assert both.translate(texts[1], beams=2) == second.translate(first.translate(texts[1], beams=2), beams=2)
    assert list(both.translate_iter(iter(texts), window=1)) == expected
    assert asyncio.run(both.atranslate(texts)) == expected
    assert (both.languages.source, both.languages.target) == ("en", "fr")
    assert both.translate("Yes.", source_language="en", target_language="fr")


def test_a_pivot_awaits_an_iterator(pair):
    both = edgekit.pivot(*pair)

    async def run():
        return [text async for text in both.atranslate_iter(["Yes.", "No."])]

    assert asyncio.run(run()) == both.translate(["Yes.", "No."])


def test_a_pivot_ends_with_its_deadline_or_cancellation(pair):
    both, cancellation = edgekit.pivot(*pair), Cancellation()
    with pytest.raises(DeadlineError, match=r"timeout of 0\.01 s"):
        both.translate(["The children are playing in the garden."] * 2000, timeout=0.01)
    cancellation.cancel()
    with pytest.raises(CancelledError):
        both.translate("Yes.", cancellation=cancellation)


def test_languages_that_do_not_meet_are_refused(pair):
    first, second = pair
    with pytest.raises(InputError, match="pivot's second model must translate from fr, which marian-en-de translates"):
        edgekit.pivot(second, first)
    with pytest.raises(InputError, match="pivot takes translators, found str as the second"):
        edgekit.pivot(first, "second")


def test_closing_a_pivot_closes_both(embedded_int8):
    first = edgekit.load(embedded_int8)
    second = edgekit.load(embedded_int8)
    second.manifest = dataclasses.replace(second.manifest, languages=Languages("de", "fr"))
    alone = first.memory()
    with edgekit.pivot(first, second) as both:
        assert both.memory().weights == 2 * alone.weights
        assert both.memory().state == 0
    for one in (first, second):
        with pytest.raises(InputError, match="this translator has been closed"):
            one.translate("Yes.")
