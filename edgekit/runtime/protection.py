"""What must come out of a translation as it went in: URLs, e-mail addresses, placeholders, tags, code; and numbers.

Models spell such things out or drop them: of 20 sentences with a URL the embedded model kept none, firefox-en-pt 12,
and of 10 with an address neither any. Both copy a made-up word ("XX1"). So each span is replaced by one. A sentence
whose words don't all come back is translated once more with others, and then between its spans, which always keeps
them. A number of two or more digits that doesn't come out, in whatever notation, is treated so too, as far as the
second try.

In: sentences, and what translates them. Out: translations with the same spans. A sentence without any is passed on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Each is searched in time linear in a text's length: what repeats begins in one place only, or stops at another start.
SPANS = re.compile(
    r"""
    `[^`\n]+`                                                     # code
    | (?:https?|ftp)://[^\s<>"]*[^\s<>"'.,;:!?)\]}]               # URLs
    | \bwww\.[\w-]+\.[^\s<>"]*[^\s<>"'.,;:!?)\]}]
    | (?<![\w.+%-])[\w.+%-]++@[\w-]+(?:\.[\w-]+)+                 # e-mail addresses
    | \{\{[^{}\n]*\}\} | \$?\{[^{}\s]*\}                          # placeholders: {{ name }}, ${name}, {0}
    | %(?:\(\w+\)|\d+\$)?[-+0\#]?\d*(?:\.\d+)?[sdifgxu](?!\w)     # %s, %(count)d, %1$s
    | </?[A-Za-z][^<>\n]*>                                        # tags
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(r"\d[\d.,:/\u2009\u00a0-]*\d")
# Words that none of the models translates, and that hardly any text has: the first try's and the second one's.
_WORDS = ("XX{}", "QX{}")

Translate = Callable[[list[str]], list[str]]


def translate_protected(sentences: Sequence[str], translate: Translate, spans: re.Pattern[str] = SPANS) -> list[str]:
    """The translation of each sentence, with all that ``spans`` matches as it was."""
    masked = [_mask(sentence, spans, _WORDS[0]) for sentence in sentences]
    found: list[str | None] = [
        _unmask(translation, one)
        for translation, one in zip(translate([one.text for one in masked]), masked, strict=True)
    ]
    whole = {index: text for index, text in enumerate(found) if text is not None}
    again = [
        index
        for index, (sentence, text) in enumerate(zip(sentences, found, strict=True))
        if text is None or _lost_numbers(sentence, text)
    ]
    if again:
        wider = re.compile(f"{spans.pattern}|{_NUMBER.pattern}", spans.flags)
        masked = [_mask(sentences[index], wider, _WORDS[1]) for index in again]
        for index, translation, one in zip(again, translate([one.text for one in masked]), masked, strict=True):
            if (text := _unmask(translation, one)) is not None:
                whole[index] = text
    return [
        whole[index] if index in whole else _translate_between(sentence, translate, spans)
        for index, sentence in enumerate(sentences)
    ]


class _Masked(NamedTuple):
    text: str
    words: list[str]
    spans: list[str]


def _mask(sentence: str, spans: re.Pattern[str], form: str) -> _Masked:
    """A sentence with words instead of its spans: ``Open {file}.`` becomes ``Open XX1.`` and its words."""
    stem = form.format("")
    if stem in sentence or not spans.search(sentence):
        return _Masked(sentence, [], [match[0] for match in spans.finditer(sentence)])
    found: list[str] = []

    def replace(match: re.Match[str]) -> str:
        found.append(match[0])
        return form.format(len(found))

    text = spans.sub(replace, sentence)
    return _Masked(text, [form.format(number) for number in range(1, len(found) + 1)], found)


def _unmask(translation: str, masked: _Masked) -> str | None:
    """The translation with its spans; None if one of their words isn't there exactly once."""
    if not masked.words:
        return translation if all(span in translation for span in masked.spans) else None
    words = re.compile(rf"(?<!\w){masked.words[0][:-1]}(\d+)(?!\w)")
    if sorted(map(int, words.findall(translation))) != list(range(1, len(masked.words) + 1)):
        return None
    return words.sub(lambda match: masked.spans[int(match[1]) - 1], translation)


def _lost_numbers(sentence: str, translation: str) -> bool:
    """Whether a number's digits are not in the translation, whatever marks stand between them."""
    wanted = {re.sub(r"\D", "", number) for number in _NUMBER.findall(sentence)}
    return bool(wanted) and not wanted <= {re.sub(r"\D", "", number) for number in _NUMBER.findall(translation)}


def _translate_between(sentence: str, translate: Translate, spans: re.Pattern[str]) -> str:
    """The translation of what lies between the spans, each stretch by itself."""
    stretches, kept = [], []
    end = 0
    for match in spans.finditer(sentence):
        stretches.append(sentence[end : match.start()])
        kept.append(match[0])
        end = match.end()
    stretches.append(sentence[end:])
    found = [
        text if not any(map(str.isalnum, text)) else _with_space_of(text, translate([text.strip()])[0])
        for text in stretches
    ]
    return "".join(part for pair in zip(found, [*kept, ""], strict=True) for part in pair)


def _with_space_of(text: str, translation: str) -> str:
    return text[: len(text) - len(text.lstrip())] + translation + text[len(text.rstrip()) :]
