"""Sentences of a line of text, by rules for scripts with and without spaces.

In: a line and its language's code. Out: where sentences begin. The rules are those of Unicode's sentence boundaries
(https://www.unicode.org/reports/tr29/#Sentence_Boundaries) as far as they concern full stops: a terminator, closing
marks behind it, then white space; no boundary where the text goes on in lower case, behind an abbreviation, an initial
or, in languages that write ordinals so, a number. It knows no context: "born in the U.S. He" stays whole, since a
boundary that is missed costs less than a sentence cut in two.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Terminators with what may close behind them; those of Chinese and Japanese need no space. A row of marks is tried from
# its first one only, so that a long one takes linear time.
_CANDIDATES = re.compile(r"(?<![.!?…؟۔।])(?P<mark>[.!?…؟۔।]++)[\"'”’»)\]]*+(?=\s)|(?P<wide>[。！？｡]+)[”’」』）】]*")
_BEFORE = re.compile(r"[^\s(\[\"'“‘«„]+$")
_OPENING = "\"'“”‘’«»„‚([¿¡-–—*•"
# Languages in which "3." is "third".
_ORDINAL_LANGUAGES = frozenset(
    ("cs", "da", "de", "et", "fi", "hr", "hu", "is", "lv", "nb", "nn", "no", "pl", "sk", "sl", "sr", "sv", "tr")
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_NUMBER = re.compile(r"\d{1,3}")
_SPACE = re.compile(r"\s*")
# Abbreviations as they are written, without the last full stop, of several languages together: none of them is a word
# that ends sentences in another. Those that often end one ("etc.", "Inc.", "p.m.") are not here.
_ABBREVIATIONS = _words(
    """
    mr mrs ms mx dr drs prof profs st rev hon gen col maj capt cmdr lt sgt sen rep gov pres supt messrs mme mlle
    vs cf ca approx e.g i.e viz al eds univ mgr
    hr fr frl dipl ing bzw bspw evtl ggf inkl insb sog vgl usf zzgl abb hrsg aufl geb gest verh str d.h
    z.b u.a o.ä s.o s.u i.d.r bsp mio mrd
    sr sra srta srs sras dra exmo exma av p.ex séc
    """
)
# Those that are one before a number only: "No. 5", but "I said no. He went."
_BEFORE_NUMBERS = _words(
    """
    no nos nr art fig figs eq eqs vol vols p pp ch sec cap abs kap bd pág págs núm tel max min
    jan feb apr jun jul aug sept sep oct okt nov dec dez
    """
)


def sentence_starts(line: str, language: str | None) -> list[int]:
    """Where the sentences of a line begin, the first one at 0.

    Args:
        line: A text without line breaks.
        language: ISO code of its language, which decides whether "3." is an ordinal; None for unknown.
    """
    starts = [0]
    for found in _CANDIDATES.finditer(line):
        start = _end_of_space(line, found.end())
        if start < len(line) and (found["wide"] or _is_end(line, found, start, language)):
            starts.append(start)
    return starts


def _end_of_space(line: str, position: int) -> int:
    found = _SPACE.match(line, position)
    assert found is not None  # it may match nothing
    return found.end()


def _is_end(line: str, found: re.Match[str], start: int, language: str | None) -> bool:
    following = line[start : start + 8].lstrip(_OPENING)[:1]
    if following.islower():
        return False
    if found["mark"] != ".":
        return True
    before = _BEFORE.search(line[max(0, found.start() - 32) : found.end("mark")])
    word = before[0][:-1].lower() if before else ""
    if word in _ABBREVIATIONS or (word in _BEFORE_NUMBERS and following.isdigit()):
        return False
    if _INITIALS.fullmatch(word) and word != "i":
        return False
    return not (language in _ORDINAL_LANGUAGES and _NUMBER.fullmatch(word))
