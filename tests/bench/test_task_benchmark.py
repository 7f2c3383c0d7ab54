import re
from dataclasses import replace

import pytest

from edgekit.bench import task_benchmark
from edgekit.bench.comparison import Prompt, from_json, to_json
from edgekit.bench.entrants import Entrant, read_entrants
from edgekit.bench.task_benchmark import ComparisonPlan, plan_comparison, run_comparison
from edgekit.bench.task_rounds import TaskSettings
from edgekit.bench.tasks import Task, load_task
from edgekit.bench.worker_process import WorkerError
from edgekit.errors import InputError, UnsupportedError
from edgekit.quality.task_text import TaskItems
from tests.bench.stand_in import stand_in_command
from tests.bundle.tiny_bundle import build_tiny_bundle
from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle

SETTINGS = TaskSettings(rounds=2, most_rounds=2, latency_items=4, bulk_items=6, dev_items=5, loads=1, resamples=100)
LABELS = Prompt("labels", "completion", "", "English: {input}\nGerman:", " {output}\n\n", 2, ())
BARE = Prompt("bare", "chat", "", "{input}", "{output}", 0, ())
REFERENCES = {f"the dog number {index} sleeps well": f"der Hund Nummer {index} schläft gut" for index in range(30)}


def items(name, indices):
    texts = [list(REFERENCES)[index] for index in indices]
    return TaskItems(name, tuple(texts), tuple((REFERENCES[text],) for text in texts), name * 8, "CC0 1.0")


@pytest.fixture
def task():
    return Task(
        "translate:en-de",
        ("chrf", "bleu"),
        "en",
        "de",
        "Translate from English to German.",
        True,
        None,
        items("test", range(10)),
        items("dev", range(8, 30)),
        (LABELS, BARE),
    )


@pytest.fixture(autouse=True)
def no_limits(monkeypatch):
    """Memory is limited in tests of their own."""
    monkeypatch.setattr(task_benchmark, "limit_kind", lambda: None)


@pytest.fixture
def entrants(make_variant):
    def make(lm=(), has_chat=True, **translator):
        answers = {text: f" {reference}" for text, reference in REFERENCES.items()}
        seq2seq = make_variant("firefox", latency_ms=[4.0], **{"reply": REFERENCES} | translator)
        causal = make_variant("lm", **{"latency_ms": [40.0], "first_ms": 8.0, "answers": answers} | dict(lm))
        return (
            Entrant("firefox int8", seq2seq, "seq2seq", False, None),
            Entrant("lm int8", causal, "causal-lm", has_chat, None),
        )

    return make


def run(entrants, task, environment, settings=SETTINGS, advance=lambda _: None):
    plan = ComparisonPlan(tuple(entrants), task, task.development(settings.dev_items), settings)
    return plan, run_comparison(plan, advance, command=stand_in_command, environment=environment)


def test_both_kinds_are_scored_on_the_same_items(entrants, task, quiet_machine):
    _, found = run(entrants(), task, quiet_machine)
    first, second = found.models
    assert first.outputs == second.outputs == tuple(REFERENCES[text] for text in task.test.inputs)
    assert first.quality["chrf"].points == pytest.approx(100)
    assert first.quality["chrf"].ci95 == pytest.approx((100, 100))
    assert (first.kind, first.prompt, first.cleaned) == ("seq2seq", None, 0)
    assert (second.kind, second.prompt.chosen) == ("causal-lm", "labels")
    copied, empty = found.floors
    assert 0 < copied.quality["chrf"].points < 60
    assert empty.quality["chrf"].points == 0
    assert found.task.words == 60
    assert from_json(to_json(found)).task == found.task


def test_the_prompt_that_is_best_on_development_text_is_used(entrants, task, quiet_machine):
    # Asked with labels it only copies; a message by itself is its translation interface.
    answers = {"German:": "no", **REFERENCES}
    _, found = run(entrants(lm={"answers": answers}), task, quiet_machine)
    choice = found.models[1].prompt
    labels, bare = choice.trials
    assert choice.chosen == "bare"
    assert bare.score == pytest.approx(100)
    assert labels.score < 20
    assert choice.shown == f"<user> {task.test.inputs[0]}"
    assert (choice.devset, choice.devset_items) == ("dev", 5)
    assert found.models[1].quality["chrf"].points == pytest.approx(100)


def test_a_model_that_no_prompt_makes_better_than_copying_is_warned_of(entrants, task, quiet_machine):
    _, found = run(entrants(lm={"answers": {"dog": "no"}}), task, quiet_machine)
    expected = r"lm int8: no prompt scored more on development text \(.* chrf\) than copying the input \(.*\); the best"
    assert any(re.match(expected, warning) for warning in found.warnings)
    _, found = run(entrants(), task, quiet_machine)
    assert not [warning for warning in found.warnings if "no prompt scored more" in warning]


def test_a_prompt_that_cannot_be_used_says_why(entrants, task, quiet_machine):
    _, found = run(entrants(has_chat=False), task, quiet_machine)
    assert found.models[1].prompt.trials[1].reason == "the model has no chat template"
    _, found = run(entrants(lm={"refuse": "German:"}), task, quiet_machine)
    trials = found.models[1].prompt.trials
    assert (trials[0].score, trials[0].reason) == (None, "too long")
    assert found.models[1].prompt.chosen == "bare"
    with pytest.raises(UnsupportedError, match=r"no prompt can be used for translate:en-de: labels: too long; bare: t"):
        run(entrants(lm={"refuse": "dog"}), task, quiet_machine)


def test_answers_are_cut_and_cleaned(entrants, task, quiet_machine):
    messy = {text: f'\nHere it is:\n"{reference}"\nmore' for text, reference in REFERENCES.items()}
    _, found = run(entrants(lm={"answers": messy}), task, quiet_machine)
    assert found.models[1].outputs == found.models[0].outputs
    assert found.models[1].cleaned == 10


def test_pairs_have_differences_and_ratios(entrants, task, quiet_machine):
    _, found = run(entrants(reply="source"), task, quiet_machine)
    (pair,) = found.pairs
    assert (pair.first, pair.second) == ("firefox int8", "lm int8")
    assert pair.quality["chrf"].points == pytest.approx(found.floors[0].quality["chrf"].points - 100)
    assert pair.quality["chrf"].p_value == pytest.approx(1 / 101)
    assert pair.ratios["latency_ms_p50"].median == pytest.approx(0.1)
    assert pair.ratios["first_output_ms"].median == pytest.approx(4 / 8)
    assert "joules_per_1000_words" in pair.ratios or found.models[0].costs.joules_per_1000_words is None


def test_costs_are_by_source_words(entrants, task, quiet_machine):
    settings = replace(SETTINGS, price_per_hour=3.6)
    _, found = run(entrants(seconds=[99, 2.0, 4.0], cpu_seconds=0.012), task, quiet_machine, settings)
    costs = found.models[0].costs
    # 4 items of 6 words in 4 ms each; 6 items of 6 words in 2 and in 4 s.
    assert costs.ms_per_word.rounds == pytest.approx((4 / 6, 4 / 6))
    assert costs.words_per_second.median == pytest.approx(1500)
    assert costs.words_per_second_bulk.rounds == pytest.approx((18, 9))
    assert costs.cpu_seconds_per_1000_words.median == pytest.approx(1000 * 4 * 0.012 / 24)
    assert costs.cpu_seconds_per_1000_words_bulk.median == pytest.approx(1000 * 0.012 / 36)
    # 3.6 an hour is 0.001 a second.
    assert costs.price_per_million_words.rounds == pytest.approx((1e6 / 18 / 1000, 1e6 / 9 / 1000))
    assert costs.item_latency_ms == (4.0, 4.0, 4.0, 4.0)
    assert len(found.task.timed_items) == 4
    assert found.models[0].memory.peak_mb == 50


def test_every_item_is_asked_of_all_in_turn_and_who_begins_changes(entrants, task, quiet_machine, tmp_path):
    log = tmp_path / "log"
    run(entrants(lm={"log": str(log)}, log=str(log)), task, quiet_machine)
    lines = [line.split()[0] for line in log.read_text().splitlines() if line.endswith("answer_each 1")]
    assert lines == ["firefox", "lm"] * 4 + ["lm", "firefox"] * 4


def test_rounds_end_when_intervals_are_tight_or_are_said_not_to_be(entrants, task, quiet_machine):
    settings = replace(SETTINGS, most_rounds=5)
    _, found = run(entrants(), task, quiet_machine, settings)
    assert found.settings.rounds == 2
    assert not [warning for warning in found.warnings if "interval" in warning]
    wild = [1, 1.0, 2.0, 1.0, 3.0, 1.0]
    _, found = run(entrants(seconds=wild), task, quiet_machine, settings)
    assert found.settings.rounds == 5
    expected = "firefox int8: after 5 rounds the interval of its time still reaches 200 % to a side (wanted: 5 %)"
    assert any(warning.startswith(expected) for warning in found.warnings)


def test_items_that_a_model_refuses_count_as_empty_and_are_not_timed(entrants, task, quiet_machine):
    _, found = run(entrants(lm={"refuse": "number 3"}), task, quiet_machine)
    assert found.models[1].outputs[3] == ""
    assert 3 not in (*found.task.timed_items, *found.task.timed_items_bulk)
    assert "lm int8: 1 of 10 items were longer than it takes, and count as empty" in found.warnings


def test_progress_is_what_was_planned(entrants, task, quiet_machine):
    steps = []
    plan, _ = run(entrants(), task, quiet_machine, advance=steps.append)
    assert sum(steps) == plan.steps == 2 * 5 + 2 * (10 + 2 * (4 + 6))


def test_few_items_are_warned_of(entrants, task, quiet_machine, monkeypatch):
    _, found = run(entrants(), task, quiet_machine)
    assert "quality was scored on 10 items: fewer than 100 say too little, whatever p is" in found.warnings
    monkeypatch.setattr("edgekit.bench.task_benchmark.FEWEST_SENTENCES", 10)
    _, found = run(entrants(), task, quiet_machine)
    assert not [warning for warning in found.warnings if "quality was scored" in warning]


def test_a_busy_machine_is_warned_of(entrants, task, quiet_machine):
    _, found = run(entrants(), task, replace(quiet_machine, background_cores_before=1.5))
    assert any(warning.startswith("other work used") for warning in found.warnings)


def test_memory_is_searched_and_what_fits_is_said(entrants, task, quiet_machine, monkeypatch):
    monkeypatch.setattr(task_benchmark, "limit_kind", lambda: "RLIMIT_DATA")
    settings = replace(SETTINGS, memory_bytes=60_000_000, cores=1)
    _, found = run(entrants(lm={"peak": 70_000_000}), task, quiet_machine, settings)
    first, second = found.models
    # A bare interpreter needs a few megabytes.
    assert 1 < first.memory.smallest_limit_mb < 50
    assert first.memory.limit_kind == "RLIMIT_DATA"
    assert first.memory.mapped_mb == 10
    assert (first.fit.fits, first.fit.memory_mb, first.fit.cores, first.fit.latency_ms_p50) == (True, 60.0, 1, 4.0)
    assert (second.fit.fits, second.fit.reason) == (False, "its resident memory reaches 70 MB")


def test_a_worker_that_fails_is_one_line(entrants, task, quiet_machine):
    with pytest.raises(WorkerError, match=r"expected 10 answers, found 9"):
        run(entrants(on={"answer_bulk": "short"}), task, quiet_machine)
    with pytest.raises(WorkerError, match=r"the weights are on fire"):
        run(entrants(on={"answer_each": "exit"}), task, quiet_machine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price_per_hour": -1.0}, r"a price per hour must be above 0, found -1"),
        ({"price_per_hour": float("nan")}, r"a price per hour must be above 0, found nan"),
        ({"threads": 2, "cores": 1}, r"2 threads don't fit onto 1 cores; give as many cores as threads"),
        ({"dev_items": 0}, r"dev_items must be at least 1, found 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        TaskSettings(**change)


def test_what_cannot_do_the_task_is_refused_before(tmp_path, llama_case, task):
    tiny = build_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(UnsupportedError, match=r"tiny-en-de translates en-de and cannot do translate:en-pt; choose a"):
        plan_comparison([tiny], load_task("translate:en-pt"), SETTINGS)
    own = replace(task, name="grammar", source_language=None, target_language=None)
    with pytest.raises(UnsupportedError, match=r'names no languages; add languages = "en-de" to its file'):
        plan_comparison([tiny], own, SETTINGS)
    plain = write_text_bundle(tmp_path / "plain", llama_case, byte_level(), chat=None)
    with pytest.raises(UnsupportedError, match=r"has no chat template, and every prompt is a chat; give a completion"):
        plan_comparison([plain], replace(task, prompts=(BARE,)), SETTINGS)
    with pytest.raises(InputError, match=r"needs at least one model, found none"):
        plan_comparison([], task, SETTINGS)
    with pytest.raises(InputError, match=r"this machine has \d+ usable cores; a fit onto 9999 cannot be tried"):
        plan_comparison([tiny], task, replace(SETTINGS, cores=9999))
    with pytest.raises(InputError, match=r"a decoder-only model's prompt is chosen on development text, and none is"):
        plan_comparison([plain], replace(task, dev=None), SETTINGS)
    # A translator needs no development text.
    assert plan_comparison([tiny], replace(task, dev=None), SETTINGS).development is None


def test_names_tell_bundles_apart(tmp_path, task):
    one, two = build_tiny_bundle(tmp_path / "a" / "x"), build_tiny_bundle(tmp_path / "b" / "x")
    other = build_tiny_bundle(tmp_path / "c")
    names = [entrant.name for entrant in read_entrants([one, two, other, one], task)]
    assert names == ["tiny-en-de fp32 (x) 1", "tiny-en-de fp32 (x) 2", "tiny-en-de fp32 (c)"]
    assert [entrant.name for entrant in read_entrants([other], task)] == ["tiny-en-de fp32"]
