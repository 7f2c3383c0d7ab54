import os
import sys

import pytest

from edgekit.bench.worker_process import WorkerError, WorkerProcess, worker_command, worker_environment
from tests.bench.stand_in import stand_in_command


def start(variant, timeout_s=20.0):
    return WorkerProcess(variant.bundle, 1, timeout_s, stand_in_command(variant.bundle, 1))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_worker_answers_and_has_ended_after_the_block(make_variant):
    with start(make_variant(reply={"Hello": "Hallo"}, loads=[42.5])) as worker:
        assert (worker.import_ms, worker.load_ms) == (100.0, 42.5)
        assert worker.request("translate_batched", texts=["Hello", "grün"])["translations"] == ["Hallo", "GRÜN"]
        assert is_running(worker.pid)
    assert not is_running(worker.pid)


def test_worker_is_ended_when_the_block_raises(make_variant):
    with pytest.raises(KeyError), start(make_variant()) as worker:
        raise KeyError
    assert not is_running(worker.pid)


@pytest.mark.parametrize("moment", ["loading", "translate_each"])
def test_worker_that_dies_is_reported_with_its_last_line(make_variant, moment):
    variant = make_variant(on={moment: "exit"})
    with pytest.raises(WorkerError) as raised, start(variant) as worker:
        worker.request("translate_each", texts=["a"])
    assert str(raised.value) == (
        f"measuring {variant.bundle}: the measured process ended with status 3 while {moment}; "
        "its last line: RuntimeError: the weights are on fire"
    )


def test_worker_that_is_killed_is_reported_with_its_signal(make_variant):
    with (
        pytest.raises(WorkerError, match=r"was killed by signal 9 \(out of memory\?\) while translate_each$"),
        start(make_variant(on={"translate_each": "kill"})) as worker,
    ):
        worker.request("translate_each", texts=["a"])


def test_worker_that_takes_too_long_is_ended(make_variant):
    with (
        pytest.raises(
            WorkerError, match=r"no answer to translate_each within 2 s; the process was ended; .*: thinking$"
        ),
        start(make_variant(on={"translate_each": "hang"}), timeout_s=2) as worker,
    ):
        worker.request("translate_each", texts=["a"])
    assert not is_running(worker.pid)


def test_worker_that_answers_nonsense_is_reported(make_variant):
    with pytest.raises(WorkerError, match=r"expected a JSON object in answer to loading, found 'Loading... 100%"):
        start(make_variant(on={"loading": "garbage"}))


def test_fault_of_the_bundle_is_passed_on(make_variant):
    with pytest.raises(WorkerError, match=r"measuring .*: bundle\.json: expected schema version 1$"):
        start(make_variant(on={"loading": "error"}))


def test_worker_that_cannot_start_is_reported(tmp_path):
    with pytest.raises(WorkerError, match=r"cannot start the measured process: .*No such file"):
        WorkerProcess(tmp_path, 1, 5, [str(tmp_path / "nothing")])


def test_worker_runs_this_edgekit_with_the_declared_threads(tmp_path):
    command, environment = worker_command(tmp_path, 3), worker_environment(3)
    assert command == [sys.executable, "-P", "-m", "edgekit.bench.worker", str(tmp_path), "3"]
    assert environment["OMP_NUM_THREADS"] == environment["RAYON_NUM_THREADS"] == "3"
    with pytest.raises(WorkerError, match=r"measuring .*absent: .*absent"):
        WorkerProcess(tmp_path / "absent", 1, 60)
