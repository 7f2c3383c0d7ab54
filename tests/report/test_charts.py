import math
import random
from xml.etree import ElementTree

import pytest

from edgekit.report.axes import linear_axis, log_axis
from edgekit.report.costs import MEMORY, TIME
from edgekit.report.drawing import Drawing
from edgekit.report.fronts import draw_front
from edgekit.report.labels import Box, place_labels
from tests.report.comparisons import comparison, model

SIZE = (920, 430)


def test_a_linear_axis_has_round_ticks_and_covers_the_data():
    axis = linear_axis(3.0, 71.0, 400.0, 20.0)
    assert axis.ticks == (20, 40, 60)
    assert axis.at(axis.low) == 400
    assert axis.at(axis.high) == 20
    assert 20 < axis.at(71) < axis.at(60) < axis.at(3) < 400


def test_a_linear_axis_of_one_value_is_spread():
    axis = linear_axis(50.0, 50.0, 0.0, 100.0)
    assert axis.at(50) == 50


def test_a_linear_axis_of_nothing_below_0_shows_nothing_below_0():
    assert linear_axis(0.0, 70.0, 0, 1).low == 0
    assert linear_axis(-5.0, 70.0, 0, 1).low < -5


def test_a_logarithmic_axis_sets_equal_factors_equally_far_apart():
    axis = log_axis(3.0, 300.0, 0.0, 100.0)
    assert axis.ticks == (5, 10, 20, 50, 100, 200)
    assert axis.at(100) - axis.at(10) == pytest.approx(axis.at(200) - axis.at(20), abs=0.02)


def test_a_logarithmic_axis_of_many_decades_has_few_ticks():
    ticks = log_axis(1e-3, 1e9, 0.0, 100.0).ticks
    assert 2 <= len(ticks) <= 7
    assert all(math.log10(tick) == round(math.log10(tick)) for tick in ticks)


def test_a_logarithmic_axis_refuses_0():
    with pytest.raises(ValueError, match="a logarithmic axis needs values above 0, found 0"):
        log_axis(0.0, 1.0, 0, 1)


@pytest.mark.parametrize("seed", range(20))
def test_labels_of_eight_scattered_points_cover_neither_each_other_nor_a_marker(seed):
    generator = random.Random(seed)
    anchors = [(generator.uniform(40, 860), generator.uniform(40, 360)) for _ in range(8)]
    markers = [Box(x - 7, y - 7, x + 7, y + 7) for x, y in anchors]
    within = Box(0, 0, 900, 400)
    boxes = place_labels(anchors, [(150.0, 16.0)] * 8, markers, within)
    for at, box in enumerate(boxes):
        assert box.left >= 0
        assert box.top >= 0
        assert box.right <= 900
        assert box.bottom <= 400
        assert not any(box.overlap(other) for other in boxes[at + 1 :])
        assert not any(box.overlap(marker) for marker in markers)


def test_labels_of_points_on_one_spot_still_have_places_of_their_own():
    boxes = place_labels([(200.0, 200.0)] * 5, [(100.0, 16.0)] * 5, [Box(193, 193, 207, 207)], Box(0, 0, 400, 400))
    assert not any(box.overlap(other) for at, box in enumerate(boxes) for other in boxes[at + 1 :])


def elements(drawing, tag):
    return list(ElementTree.fromstring(drawing.inline()).iter(tag))


def test_the_picture_shows_kinds_standings_intervals_and_floors():
    drawing = draw_front(
        comparison(model("a", 60, 10), model("b", 40, 100, kind="causal-lm"), model("c", 60.1, 20)), TIME, SIZE
    )
    assert [each.get("class") for each in elements(drawing, "circle")] == [
        "marker seq2seq front",
        "marker seq2seq undecided",
    ]
    assert [each.get("class") for each in elements(drawing, "rect")] == ["marker causal behind"]
    texts = [each.text for each in elements(drawing, "text")]
    assert {"a", "b", "c", "copying the input: 20.0", "chrF ↑ better", "median time a sentence, cheaper ←"} <= set(
        texts
    )
    assert len([each for each in elements(drawing, "line") if "whisker" in each.get("class")]) == 6
    assert "b: 40.0 at 100 ms, behind the front" in ElementTree.fromstring(drawing.inline()).get("aria-label")


def test_better_is_higher_and_cheaper_is_further_left():
    drawing = draw_front(comparison(model("a", 60, 10), model("b", 40, 100)), TIME, SIZE)
    a, b = elements(drawing, "circle")
    assert float(a.get("cx")) < float(b.get("cx"))
    assert float(a.get("cy")) < float(b.get("cy"))


def test_a_cost_that_no_model_has_makes_no_picture():
    lacking = model("a", 60, 10, memory=0.0)
    assert draw_front(comparison(lacking), MEMORY, SIZE) is None


def test_text_in_a_drawing_is_escaped():
    drawing = Drawing(10, 10, '"><script>')
    drawing.add("text", "</text><script>alert(1)</script>", title="&\x00")
    assert "<script" not in drawing.inline()
    assert ElementTree.fromstring(drawing.inline())[0].text == "</text><script>alert(1)</script>"
