import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from edgekit.bench.comparison import to_json
from edgekit.report import to_html
from edgekit.report.numbers import amount, factor, megabytes, milliseconds, p_text, points, signed
from tests.report.comparisons import comparison, fitting, model

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = '"><script>alert(1)</script><img src=//evil.example/x onerror=alert(1)>{{ 7 * 7 }}\x1b[2J\u202e'


class Page(HTMLParser):
    """Checks that each element is closed where it should be, and keeps what the tests look at."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.figures, self.text = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "data":
            self.figures.append([dict(attributes)["value"], ""])

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] == "data":
            self.figures[-1][1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def every_number(value):
    if isinstance(value, dict):
        return {number for inner in value.values() for number in every_number(inner)}
    if isinstance(value, list):
        return {number for inner in value for number in every_number(inner)}
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


@pytest.fixture(scope="module")
def measured():
    small = fitting(model("small int8", 69.213, 12.3456, 140.123, price=0.0123), True)
    large = fitting(model("large int4", 24.1, 197.0, 1120.0, kind="causal-lm", price=0.9), False)
    return comparison(small, large, model("small fp32", 69.3, 22.0, 300.0, price=0.02), warnings=("it was busy",))


@pytest.fixture(scope="module")
def html(measured):
    return to_html(measured)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_page_asks_nothing_of_a_network_and_runs_nothing(html, page):
    assert not re.search(r"https?:|//\w|@import|url\(", html)
    assert not {"script", "iframe", "object", "embed", "img", "form", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "href", "srcset")}
    policies = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_every_figure_of_the_page_is_that_of_the_json_rounded(measured, page):
    values = json.loads(to_json(measured))
    known = every_number(values)
    # The ratios of what is measured once are the page's own; memory is the only one.
    memory = {one["name"]: one["memory"]["peak_single_mb"] for one in values["models"]}
    known |= {float(f"{memory[pair['first']] / memory[pair['second']]:.6g}") for pair in values["pairs"]}
    forms = (points, signed, milliseconds, megabytes, amount, factor, p_text, lambda v: milliseconds(1e3 * v))
    assert len(page.figures) > 120
    for value, text in page.figures:
        assert float(value) in known, f"{text} ({value}) is nowhere in the JSON"
        # The lower end of a span leaves out its unit.
        assert any(text in (form(float(value)), form(float(value)).partition(" ")[0]) for form in forms), (value, text)


def test_figures_of_the_first_models_costs_are_all_there(measured, page):
    shown = {value for value, _ in page.figures}
    costs, memory = measured.models[0].costs, measured.models[0].memory
    timed = ("latency_ms_p50", "latency_ms_p95", "first_output_ms", "words_per_second_bulk", "price_per_million_words")
    wanted = [getattr(costs, name).median for name in timed]
    wanted += [memory.peak_mb, memory.peak_single_mb, memory.smallest_limit_mb, measured.models[0].size_mb]
    assert {f"{value:.6g}" for value in wanted} <= shown


def test_the_verdict_comes_first_then_the_warning_then_the_picture(html):
    order = ["<h1>Only small int8", "small int8 gives +45.1", "it was busy", "<svg", "<table"]
    places = [html.index(text) for text in order]
    assert places == sorted(places)


def test_all_sections_are_there(page):
    text = " ".join(" ".join(page.text).split())
    for part in (
        "Quality against time",
        "Quality and its intervals",
        "How long a sentence takes",
        "Where small int8 does best beside large int4",
        "The best of 1 prompts on 40 texts of flores-dev",
        "English: One cat sleeps. German:",
        "the model has no chat template",
        "Quotation marks around the whole go",
        "2 of 5 outputs of large int4",
        "governor unknown",
        "edgekit bench --cpu marian-en-de smollm2-135m --task translate:en-de --limit 5",
    ):
        assert part in text, part


def test_pictures_have_text_and_tables_have_headers(page):
    pictures = [svg for svg in page.all("svg") if "aria-hidden" not in svg]
    assert len(pictures) == 10
    assert all(svg["role"] == "img" and "small int8" in svg["aria-label"] for svg in pictures)
    assert {th["scope"] for th in page.all("th")} == {"row", "col"}
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("meta")[1]["content"] == "width=device-width, initial-scale=1"


def test_what_models_and_users_wrote_is_text_and_nothing_else():
    outputs = (HOSTILE,) * 5
    one = model("small int8", 60.0, 10.0, outputs=outputs)
    other = replace(model("x", 50.0, 30.0, kind="causal-lm", outputs=outputs), name=HOSTILE, source=HOSTILE)
    other = replace(other, prompt=replace(other.prompt, shown=HOSTILE, devset=HOSTILE, chosen=HOSTILE))
    found = comparison(
        one, other, warnings=(HOSTILE,), inputs=outputs, references=((HOSTILE,),) * 5, testset=HOSTILE,
        license=HOSTILE, target_language=HOSTILE, metrics={"chrf": HOSTILE},
    )  # fmt: skip
    html = to_html(replace(found, settings=replace(found.settings, command=HOSTILE)))
    page = Page(html)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "\x1b" not in html
    assert "{{ 7 * 7 }}" in html
    assert "<script>alert(1)</script>" in "".join(page.text)


def test_an_empty_output_is_shown_as_nothing():
    found = comparison(model("a", 60, 10), model("b", 50, 30, outputs=("", "  ", "\n", "", "")))
    assert Page(to_html(found)).text.count("(nothing)") == 3


def test_a_long_name_does_not_widen_the_page():
    html = to_html(comparison(model("a", 60, 10), model("n" * 400, 50, 30)))
    labels = re.findall(r'class="label[^"]*">([^<]*)<', html)
    assert max(map(len, labels)) <= 48
    assert "overflow-wrap: anywhere" in html


def test_a_single_model_without_pairs_or_memory_has_a_page():
    alone = model("a", 60, 10)
    alone = replace(alone, memory=replace(alone.memory, peak_mb=None, peak_single_mb=None, smallest_limit_mb=None))
    page = Page(to_html(comparison(alone)))
    assert "a was measured alone" in " ".join(page.text)
    assert "Each two models" not in " ".join(page.text)


def test_the_same_comparison_gives_the_same_page(measured, html):
    assert to_html(measured) == html
