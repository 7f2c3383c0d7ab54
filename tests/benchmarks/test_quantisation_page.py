"""The page of benchmarks/quantisation: from kept results to Markdown."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "quantisation"


@pytest.fixture(scope="module")
def to_markdown():
    spec = importlib.util.spec_from_file_location("table_page", FOLDER / "table_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.to_markdown


def report(**changes):
    scored = {"sentences": 500, "chrf": 51.234}
    lost = {**scored, "chrf_loss": 0.106, "chrf_loss_ci95": [-0.02, 0.311]}
    rows = {
        "fp32": {"size_mb": 28.61, "quality": {"tatoeba": scored}, "speed": {"tatoeba": {"ms_p50": 9.0}}},
        "int8-static": {"size_mb": 8.4, "quality": {"tatoeba": lost}, "speed": {"tatoeba": {"ms_p50": 3.125}}},
        "mix-time": {"size_mb": 8.5, "quality": {"tatoeba": lost}, "speed": None, "mix": {"int8": 3, "fp32": 1}},
    }
    return {"model": "m", "plain_int8": "int8-static", "refused": {"int8-smooth": "no norm"}, "bundles": rows} | changes


def test_a_row_has_points_the_loss_with_its_interval_and_the_time(to_markdown):
    machine = {"cpu": "A CPU", "rounds": 3, "background_cores_during": 0.01, "warning": None}
    lines = to_markdown(report(machine=machine)).splitlines()
    assert lines[:3] == ["# m", "", "| scheme | MB | chrF, tatoeba | chrF lost, tatoeba | ms p50, tatoeba |"]
    assert lines[4] == "| fp32 | 28.6 | 51.23 | - | 9.00 |"
    assert lines[5] == "| **int8-static** (plain int8) | 8.4 | 51.23 | 0.11 [-0.02, 0.31] | 3.12 |"
    assert lines[6] == "| mix-time | 8.5 | 51.23 | 0.11 [-0.02, 0.31] | - |"
    text = "\n".join(lines)
    assert "Quality on 500 sentences of tatoeba; losses against fp32" in text
    assert "one thread of A CPU, medians of 3 rounds, side by side; 0.01 other cores were busy." in text
    assert "- `int8-smooth` is refused: no norm." in text
    assert "- `mix-time`, found by `edgekit quantize --search`: of its tensors 3 in int8, 1 in fp32." in text


def test_a_busy_machine_and_missing_times_are_said(to_markdown):
    machine = {"cpu": "A CPU", "rounds": 3, "background_cores_during": 1.5, "warning": "other work used 1.50 cores"}
    assert "Warning: other work used 1.50 cores." in to_markdown(report(machine=machine))
    assert "Time not measured yet." in to_markdown(report())
