import json

import pytest

from edgekit.bench.comparison import from_json, to_json
from edgekit.errors import InputError
from tests.bench.comparisons import make_comparison


@pytest.fixture
def comparison(quiet_machine):
    # Once through JSON, which leaves six digits.
    return from_json(to_json(make_comparison(quiet_machine)))


def test_what_is_written_is_read_back(comparison):
    assert from_json(to_json(comparison)) == comparison
    assert comparison.models[0].costs.latency_ms_p50.rounds == (4.5, 5.0, 5.5)
    assert comparison.pairs[0].ratios["words_per_second"].high == 16.5
    assert comparison.models[1].prompt.trials[1].reason == "the model has no chat template"


def test_numbers_keep_six_digits(comparison):
    values = json.loads(to_json(comparison))
    assert values["pairs"][0]["quality"]["chrf"]["p_value"] == 0.000999
    assert values["models"][1]["costs"]["ms_per_word"]["median"] == 20.0


def test_keys_of_a_later_edgekit_are_passed_over(comparison):
    values = json.loads(to_json(comparison))
    values["models"][0]["carbon"] = 1
    assert from_json(json.dumps(values)) == comparison


def damaged(values, place, value):
    *path, last = place
    for step in path:
        values = values[step]
    if value is None:
        del values[last]
    else:
        values[last] = value


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["models"], None, r"old\.json: its top: expected the key models, found none; is it a complete report"),
        (["models", 1, "memory", "peak_mb"], "big", r"models\[1\]\.memory\.peak_mb: expected int or float, found str"),
        (["models", 0, "size_mb"], True, r"models\[0\]\.size_mb: expected int or float, found bool"),
        (["models", 0, "outputs"], "text", r"models\[0\]\.outputs: expected list, found str"),
        (
            ["pairs", 0, "quality", "chrf", "ci95"],
            [1.0],
            r"pairs\[0\]\.quality\.chrf\.ci95: expected 2 values, found 1",
        ),
        (["floors", 0, "quality", "chrf", "points"], float("nan"), r"points: expected a finite number, found nan"),
        (["schema_version"], 9, r"old\.json: expected schema version 1, found 9; use the edgekit that wrote it"),
        (["report"], "other", r"old\.json: expected a report of edgekit bench --task, found something else"),
    ],
)
def test_damaged_reports_are_refused_in_one_line(comparison, place, value, message):
    values = json.loads(to_json(comparison))
    damaged(values, place, value)
    with pytest.raises(InputError, match=message):
        from_json(json.dumps(values), "old.json")


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"x"', "[" * 100_000])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(InputError, match=r"^old\.json: expected (JSON|a report) of edgekit bench"):
        from_json(text, "old.json")
