"""HTML in parts: what is text, what is kept, and that nothing is lost, whatever the input."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.serve.html_parts import escape, html_parts
from edgekit.serve.parts import join, text_parts

PIECES = [
    *("<", ">", "</", "<p>", "</p>", "<b", "<!--", "-->", "<script>", "</script>", "<title>", "&amp;", "&#", "a"),
    *(
        "é ",
        '"',
        "<br/>",
        "<![CDATA[",
        "]]>",
        "<?",
        "<!doctype>",
        "translate=no",
        "=",
        "'",
        "\u0000",
        " ",
        "\n",
        "\r\n",
    ),
]


def texts(source):
    return [part.text for part in html_parts(source) if part.text is not None]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<p>One</p><p>Two</p>", ["One", "Two"]),
        ("One <b>two</b> three", ["One", "two", "three"]),
        ("no tags at all", ["no tags at all"]),
        ("a &lt; b &amp; c&nbsp;d &#228;", ["a < b & c\xa0d ä"]),
        ("<p>\n  wrapped\n  line \n</p>", ["wrapped line"]),
        ("<title>Title</title><script>var a = '<p>x</p>';</script><style>p {}</style>", ["Title"]),
        ("<pre>x</pre><code>y <i>z</i></code>text", ["text"]),
        ('<p translate="no">Kept <b>too</b></p><p TRANSLATE=NO>k</p><p class="a notranslate">k</p>done', ["done"]),
        ("<div translate=no><div>k</div>k<br>k</div>done", ["done"]),
        ('<img alt="an image"><a title="t" href="?a=1&b=2">link</a>', ["link"]),
        ("<!-- comment --><!doctype html><?php x ?>x", ["x"]),
        ("1 < 2 and 3 > 2", ["1 < 2 and 3 > 2"]),
        ("<p>...</p><p>!</p>", []),
        ("<script>never closed <p>x</p>", []),
        ("<SCRIPT>a</scripts></SCRIPT >b", ["b"]),
        ("<title>a <b> c</title>d", ["a <b> c", "d"]),
        ("<a title='never closed>x</a> y", []),
        ("x<![CDATA[y]]>z</>w", ["x", "z", "w"]),
        ("<p title=a>b'c>d", ["b'c>d"]),
        ("<!-->a<!--->b<!--c", ["a", "b"]),
        ("<svg/><svg><text>k</text><svg/>k</svg>a", ["a"]),
        ("a </ p>b < c", ["a", "b < c"]),
        ("", []),
    ],
)
def test_texts_are_those_a_reader_sees(source, expected):
    assert texts(source) == expected


def test_translations_take_the_place_of_their_texts():
    source = '<ul class="x">\n  <li>One &amp; two </li>\n  <li>Three<br/>4</li>\n</ul>'
    translations = map(escape, ["1 < 2", "Drei", "vier"])
    expected = '<ul class="x">\n  <li>1 &lt; 2 </li>\n  <li>Drei<br/>vier</li>\n</ul>'
    assert join(html_parts(source), translations) == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_parts_of_any_input_are_the_input(source):
    assert "".join(part.raw for part in html_parts(source)) == source
    assert "".join(part.raw for part in text_parts(source)) == source


@pytest.mark.parametrize(
    "piece", ["<", "<!--", "<a ", "&", "</", "<!", "<![", "<?", "<a b='", "<b><i>", "&#", "\n", " "]
)
def test_what_takes_other_parsers_minutes_is_cut_whole(piece):
    source = (piece * 50_000)[:50_000]
    assert "".join(part.raw for part in html_parts(source)) == source
    assert "".join(part.raw for part in text_parts(source)) == source


def test_lines_are_texts_and_space_is_kept():
    text = "  One line.\n\n\tTwo\u2028three \r\n"
    assert [part.text for part in text_parts(text) if part.text] == ["One line.", "Two", "three"]
    assert join(text_parts(text), iter("abc")) == "  a\n\n\tb\u2028c \r\n"
    assert text_parts("") == []
