import numpy as np
import pytest

from edgekit.bench.measure import BenchSettings, TimedRounds, count_steps, measure, spread_sample
from edgekit.bench.worker_process import WorkerError
from edgekit.errors import InputError
from tests.bench.stand_in import stand_in_command

SETTINGS = BenchSettings(rounds=2, latency_sentences=4, batched_sentences=6, loads=3)


def run(variants, testsets, settings=SETTINGS, advance=lambda count: None):
    return measure(variants, testsets, settings, advance, stand_in_command)


def test_rounds_of_all_variants_take_turns(make_variant, testset, tmp_path):
    log = tmp_path / "log"
    variants = [make_variant("a", "fp32", log=str(log)), make_variant("b", log=str(log))]
    run(variants, [testset])
    one_round = ["a translate_each 4", "a translate_batched 6", "b translate_each 4", "b translate_batched 6"]
    warm_up = [
        f"{name} {request}"
        for name in "ab"
        for request in ("translate_each 1", "translate_batched 10", "translate_each 4")
    ]
    end = ["a peak_memory 0", "a quit 0", "b peak_memory 0", "b quit 0"]
    loads = ["a quit 0", "b quit 0"] * 2
    assert log.read_text().splitlines() == loads + warm_up + one_round * 2 + end


def test_measurement_holds_what_the_worker_gave(make_variant, testset):
    variant = make_variant(
        loads=[30.0, 10.0, 20.0], latency_ms=[1, 2, 3, 4], seconds=[9, 0.5, 0.7], peak=77, reply="source"
    )
    (measurement,), conditions = run([variant], [testset])
    assert measurement.load_ms == [30.0, 10.0, 20.0]
    assert measurement.import_ms == [100.0] * 3
    assert measurement.first_translation_ms == 1
    assert measurement.peak_rss_bytes == 77
    assert measurement.translations == [list(testset.sources)]
    timed = measurement.timed[0]
    assert [list(latencies) for latencies in timed.latency_ms] == [[1, 2, 3, 4]] * 2
    assert timed.batched_seconds == [0.5, 0.7]
    assert (timed.words, timed.words_batched) == (4 * 6, 6 * 6)
    assert conditions.background_cores >= 0
    assert conditions.probe_ms > 0


def test_figures_of_rounds_worked_by_hand():
    timed = TimedRounds(words=30, words_batched=60)
    timed.latency_ms = [np.array([10.0, 20.0, 30.0, 40.0]), np.array([20.0, 20.0, 20.0, 20.0])]
    timed.batched_seconds = [0.5, 0.25]
    assert timed.percentile_ms(50) == [25, 20]
    assert timed.percentile_ms(95) == pytest.approx([38.5, 20])  # 2.85 of 3 steps on: 30 + 0.85 * 10
    assert timed.words_per_second() == [300, 375]
    assert timed.words_per_second_batched() == [120, 240]


def test_progress_reaches_the_announced_number_of_steps(make_variant, testset):
    done = []
    variants = [make_variant("a"), make_variant("b")]
    run(variants, [testset, testset.first(3)], advance=done.append)
    # a variant: 10 + 3 sentences, then 2 rounds of 4 + 6 and 3 + 3.
    assert sum(done) == count_steps(2, [testset, testset.first(3)], SETTINGS) == 2 * (13 + 2 * 16)


def test_sample_is_spread_over_the_whole_set():
    texts = [str(index) for index in range(10)]
    assert spread_sample(texts, 4) == ["0", "2", "5", "7"]
    assert spread_sample(texts, 10) == spread_sample(texts, 99) == texts
    assert spread_sample(texts, 1) == ["0"]


def test_worker_that_loses_a_sentence_is_refused(make_variant, testset):
    with pytest.raises(WorkerError, match=r"expected 10 translations, found 9"):
        run([make_variant(on={"translate_batched": "short"})], [testset])


def test_one_dead_worker_ends_the_measurement(make_variant, testset):
    variants = [make_variant("a"), make_variant("b", on={"translate_batched": "exit"})]
    with pytest.raises(WorkerError, match=r"measuring .*b\.json: .*ended with status 3 while translate_batched"):
        run(variants, [testset])


@pytest.mark.parametrize("name", ["threads", "rounds", "limit", "latency_sentences", "batched_sentences", "loads"])
def test_settings_below_one_are_refused(name):
    with pytest.raises(InputError, match=f"{name} must be at least 1, found 0"):
        BenchSettings(**{name: 0})


def test_negative_seed_is_refused():
    with pytest.raises(InputError, match="seed must be at least 0, found -1"):
        BenchSettings(seed=-1)
