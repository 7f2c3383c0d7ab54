"""The picture of the comparison with other engines: what is marked, and where."""

import runpy
from pathlib import Path
from xml.etree import ElementTree

draw = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "peers" / "plot.py"))["draw"]
SVG = "{http://www.w3.org/2000/svg}"


def row(engine, beams, **ratios):
    faster = {form.replace("_", "-"): dict(zip(("min", "median", "max"), r, strict=True)) for form, r in ratios.items()}
    setting = {"model": "A & B", "threads": 1, "beams": beams, "batch": 8, "engine": engine, "precision": "int8"}
    return setting | {"edgekit_is_faster": faster}


def test_a_ratio_is_marked_on_a_logarithmic_axis():
    results = {"rows": [row("peer", 1, int8=(1, 2, 4), int8_static=(2, 4, 8)), {"engine": "edgekit"}]}
    picture = ElementTree.fromstring(draw(results))
    legend, marks = (list(picture.iter(f"{SVG}circle"))[part] for part in (slice(2), slice(2, None)))
    assert [mark.get("fill") for mark in marks] == [mark.get("fill") for mark in legend]
    two, four = (float(mark.get("cx")) for mark in marks)
    texts = {text.text: text for text in picture.iter(f"{SVG}text")}
    one, eight = (float(texts[tick].get("x")) for tick in ("1", "8"))
    # Equal factors are equal distances; each bar reaches from the smallest to the largest.
    assert [round(x - one) for x in (two, four, eight)] == [round(n * (two - one)) for n in (1, 2, 3)]
    bars = [line for line in picture.iter(f"{SVG}line") if line.get("stroke-width") == "2"]
    assert [(float(bar.get("x1")), float(bar.get("x2"))) for bar in bars] == [(one, four), (two, eight)]
    assert "beams 1, batch 8: peer int8" in texts


def test_each_model_and_number_of_threads_has_a_heading():
    other = row("peer", 4, int8=(1, 1, 1)) | {"threads": 2}
    texts = [
        text.text for text in ElementTree.fromstring(draw({"rows": [row("peer", 1, int8=(1, 1, 1)), other]})).iter()
    ]
    assert texts.count("A & B, 1 thread") == texts.count("A & B, 2 threads") == 1
