import json
from dataclasses import replace

import pytest

from edgekit.bench.comparison import to_json
from edgekit.bench.report_change import compare_reports
from edgekit.errors import InputError
from tests.bench.comparisons import make_comparison, timed


@pytest.fixture
def write(tmp_path):
    def write(name, report):
        path = tmp_path / name
        path.write_text(report if isinstance(report, str) else json.dumps(report))
        return path

    return write


def changed(found):
    return {(change.subject, change.figure): change.verdict for change in found.changes if change.verdict != "same"}


def with_costs(comparison, **costs):
    first, *others = comparison.models
    return replace(comparison, models=(replace(first, costs=replace(first.costs, **costs)), *others))


def test_a_report_is_the_same_as_itself(write, quiet_machine):
    path = write("a.json", to_json(make_comparison(quiet_machine)))
    found = compare_reports(path, path)
    assert changed(found) == {}
    assert {change.figure for change in found.changes} >= {"chrf", "latency_ms_p50", "peak_mb", "size_mb", "load_ms"}
    assert found.warnings == ("the first report has 1 warning of its own", "the second report has 1 warning of its own")


@pytest.mark.parametrize(
    ("figure", "spread", "verdict"),
    [
        (5.4, 0.1, "noise"),  # intervals of 4.5 to 5.5 and 4.86 to 5.94
        (5.05, 0.0, "noise"),
        (7.0, 0.1, "worse"),
        (3.0, 0.1, "better"),
    ],
)
def test_times_change_where_intervals_do_not_overlap(write, quiet_machine, figure, spread, verdict):
    comparison = make_comparison(quiet_machine)
    old = write("old.json", to_json(comparison))
    new = write("new.json", to_json(with_costs(comparison, latency_ms_p50=timed(figure, spread))))
    assert changed(compare_reports(old, new)) == {("firefox-en-de int8", "latency_ms_p50"): verdict}


def test_a_small_difference_of_steady_runs_is_noise(write, quiet_machine):
    comparison = make_comparison(quiet_machine)
    old = write("old.json", to_json(with_costs(comparison, words_per_second=timed(1000.0, 0.0))))
    new = write("new.json", to_json(with_costs(comparison, words_per_second=timed(1015.0, 0.0))))
    assert changed(compare_reports(old, new)) == {("firefox-en-de int8", "words_per_second"): "noise"}
    new = write("new.json", to_json(with_costs(comparison, words_per_second=timed(1025.0, 0.0))))
    assert changed(compare_reports(old, new)) == {("firefox-en-de int8", "words_per_second"): "better"}


def test_outputs_are_scored_against_each_other(write, quiet_machine):
    comparison = make_comparison(quiet_machine)
    first, second = comparison.models
    old = write("old.json", to_json(comparison))
    best = tuple(right for (right,) in comparison.task.references)
    # In every resample better: significant though the intervals of the scores overlap.
    better = replace(second, outputs=best, quality=second.quality | {"chrf": first.quality["chrf"]})
    new = write("new.json", to_json(replace(comparison, models=(first, better))))
    found = changed(compare_reports(old, new))
    assert found[second.name, "chrf"] == found[second.name, "bleu"] == "better"
    assert changed(compare_reports(new, old))[second.name, "chrf"] == "worse"


def with_conditions(comparison, **conditions):
    return replace(comparison, conditions=replace(comparison.conditions, **conditions))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (4.0, 5.0, "was slower in the second report: the speed probe took 4 ms, then 5 ms (+25.0 %)"),
        (4.0, 3.0, "was faster in the second report: the speed probe took 4 ms, then 3 ms (-25.0 %)"),
        (4.0, 4.1, "was as fast in both reports: the speed probe took 4 ms, then 4.1 ms (+2.5 %)"),
        (None, 4.0, "was is not known: the first report has no time of the speed probe"),
        (4.0, None, "was is not known: the second report has no time of the speed probe"),
        (None, None, "was is not known: the reports have no time of the speed probe"),
    ],
)
def test_how_fast_the_machine_itself_was_is_said(write, quiet_machine, old, new, sentence):
    comparison = make_comparison(quiet_machine)
    reports = [to_json(with_conditions(comparison, probe_ms=probe_ms)) for probe_ms in (old, new)]
    found = compare_reports(write("old.json", reports[0]), write("new.json", reports[1]))
    assert found.machine.endswith(sentence)
    assert found.probe_ms == (old, new)
    reports = [translation(environment={"threads": 1, "probe_ms": probe_ms}) for probe_ms in (old, new)]
    assert compare_reports(write("old.json", reports[0]), write("new.json", reports[1])).machine == found.machine


def test_a_report_of_before_the_probe_compares(write, quiet_machine):
    values = json.loads(to_json(make_comparison(quiet_machine)))
    del values["conditions"]["probe_ms"]
    path = write("old.json", values)
    assert changed(compare_reports(path, path)) == {}


def test_the_probes_of_two_pythons_do_not_compare(write):
    reports = [translation(environment={"threads": 1, "probe_ms": 4.0, "python": f"3.{minor}.7"}) for minor in (11, 13)]
    found = compare_reports(write("old.json", reports[0]), write("new.json", reports[1]))
    assert found.machine.endswith("is not known: the speed probe is Python's, and was run by 3.11 and 3.13")


@pytest.mark.parametrize("busy", ["old", "new"])
def test_beside_other_work_processor_time_is_judged_and_the_wall_clock_is_not(write, quiet_machine, busy):
    comparison = make_comparison(quiet_machine)
    slower = with_costs(
        comparison,
        latency_ms_p50=timed(50.0),
        words_per_second=timed(80.0),
        load_ms=timed(90.0),
        cpu_seconds_per_1000_words=timed(9.0),
    )
    reports = {"old": comparison, "new": slower}
    reports[busy] = with_conditions(reports[busy], background_cores=0.26)
    found = compare_reports(*(write(f"{name}.json", to_json(report)) for name, report in reports.items()))
    subject = "firefox-en-de int8"
    verdicts = changed(found)
    for figure in ("latency_ms_p50", "words_per_second", "words_per_second_bulk", "load_ms"):
        assert verdicts[subject, figure] == "busy"
    assert verdicts[subject, "cpu_seconds_per_1000_words"] == "worse"
    assert (subject, "peak_mb") not in verdicts
    which = "first" if busy == "old" else "second"
    assert found.warnings[0] == (
        f"other work used 0.26 cores beside the {which} report: processor time is judged, not the wall clock's"
    )


def test_reports_without_processor_time_are_judged_by_the_wall_clock_on_a_busy_machine_too(write):
    busy = {"cpu": "x", "threads": 1, "background_cores_before": 0.1, "background_cores_during": 1.5}
    old, new = (
        write("old.json", translation()),
        write("new.json", translation(latency=(6.0, 5.9, 6.2), environment=busy)),
    )
    found = compare_reports(old, new)
    assert changed(found)["marian int8 on en-de dogs", "latency_ms_p50"] == "worse"
    assert found.warnings == ("other work used 1.50 cores beside the second report: times may differ for that",)


def test_other_machines_are_warned_of(write, quiet_machine):
    comparison = make_comparison(quiet_machine)
    old = write("old.json", to_json(comparison))
    slower = replace(quiet_machine, cpu="Other CPU")
    settings = replace(comparison.settings, threads=2)
    new = write("new.json", to_json(replace(comparison, environment=slower, settings=settings, warnings=())))
    assert compare_reports(old, new).warnings[:2] == (
        "the two were measured on other machines: cpu 'Test CPU' and 'Other CPU'; times don't compare",
        "the two were measured with 1 and 2 threads",
    )


def translation(chrf=60.0, ci=(0.1, 0.5), latency=(5.0, 4.9, 5.1), **changes):
    median, *spread = latency
    names = ("latency_ms_p50", "latency_ms_p95", "words_per_second", "words_per_second_batched", "load_ms")
    row = {
        "model": "marian", "precision": "int8", "languages": "en-de", "testset": "dogs", "chrf": chrf,
        "chrf_loss_ci95": list(ci), "bleu": 30.0, "bleu_loss_ci95": None, "peak_rss_mb": None, "size_mb": 12.0,
        "spread": dict.fromkeys(names, spread), **dict.fromkeys(names, median),
    }  # fmt: skip
    return {
        "schema_version": 1, "task": "translation", "environment": {"cpu": "x", "threads": 1}, "results": [row],
        "testsets": [{"name": "dogs", "sha256": "ab", "sentences": 10}], "warnings": [],
    } | changes  # fmt: skip


def test_reports_of_translation_compare(write):
    old = write("old.json", translation())
    new = write("new.json", translation(chrf=59.7, latency=(6.0, 5.9, 6.2)))
    found = changed(compare_reports(old, new))
    subject = "marian int8 on en-de dogs"
    # The interval of the loss is 0.4 wide.
    assert found[subject, "chrf"] == "noise"
    assert found[subject, "latency_ms_p50"] == "worse"
    assert found[subject, "words_per_second"] == "better"
    assert changed(compare_reports(old, write("low.json", translation(chrf=59.0))))[subject, "chrf"] == "worse"


def test_reports_of_text_generation_compare(write):
    def report(perplexity, ci, prefill):
        names = ("decode_tokens_per_second", "lookup_tokens_per_second", "first_token_ms", "load_ms")
        row = {
            "model": "lm", "precision": "int4", "text": "prose", "perplexity": perplexity, "perplexity_ci95": ci,
            "prefill_tokens_per_second": {"128": prefill}, "peak_rss_mb": 99.0, "size_mb": 9.0,
            **dict.fromkeys(names, 10.0),
            "spread": {**dict.fromkeys(names, (9.0, 11.0)), "prefill_tokens_per_second_128": [prefill, prefill]},
        }  # fmt: skip
        texts = [{"name": "prose", "sha256": "cd", "words": 5}]
        return {
            "schema_version": 1, "task": "text-generation", "environment": {"threads": 1}, "results": [row],
            "texts": texts, "warnings": [],
        }  # fmt: skip

    old, new = write("old.json", report(20.0, [19, 21], 500.0)), write("new.json", report(25.0, [24, 26], 600.0))
    subject = "lm int4 on prose"
    assert changed(compare_reports(old, new)) == {
        (subject, "perplexity"): "worse",
        (subject, "prefill_tokens_per_second_128"): "better",
    }


def test_bad_files_are_one_line_each(write, tmp_path, quiet_machine):
    good, task = write("good.json", translation()), write("task.json", to_json(make_comparison(quiet_machine)))
    for path, message in [
        (tmp_path / "absent.json", r"absent\.json: cannot be read: No such file or directory; give a file of edgekit"),
        (tmp_path, r"cannot be read: Is a directory"),
        (write("text.json", "hello"), r"text\.json: expected JSON of edgekit bench, found something else"),
        (write("list.json", "[1]"), r"list\.json: expected JSON of edgekit bench"),
        (write("deep.json", "[" * 100_000), r"deep\.json: expected JSON of edgekit bench"),
        (
            write("later.json", translation(schema_version=2)),
            r"expected a report with schema version 1, found version 2",
        ),
        (write("other.json", translation(task="cooking")), r"found version 1 on 'cooking'"),
        (write("rows.json", translation(results=[{}])), r"rows\.json: a report that lacks or spoils 'languages'"),
        (write("nan.json", translation(chrf=float("nan"))), r"nan\.json: a report that lacks or spoils chrf"),
        (write("type.json", translation(chrf="x")), r"type\.json: a report that lacks or spoils"),
        (
            write("probe.json", translation(environment={"threads": 1, "probe_ms": "x"})),
            r"probe\.json: a report that lacks",
        ),
        (task, r"expected two reports of one kind, found translation in .*good.* and task-comparison in .*task"),
        (write("text2.json", translation(testsets=[])), r"measured on other text; measure both on the same test set"),
        (write("none.json", translation(results=[])), r"have no model in common; give reports on the same models"),
    ]:
        with pytest.raises(InputError, match=message):
            compare_reports(good, path)
