"""Work ends when its caller says so, at the next step, and a model serves on."""

import asyncio
import contextlib
import threading
import time

import pytest

import edgekit
from edgekit.errors import BundleError, CancelledError, DeadlineError, InputError
from edgekit.runtime import Cancellation, session
from edgekit.runtime.memory import LoadedSessions, private_bytes

LONG = ["a b c d e f g h."] * 5000


@pytest.fixture(scope="module")
def translator(student_bundle):
    return edgekit.load(student_bundle)


def test_a_cancellation_is_over_once_cancelled_or_out_of_time():
    assert not Cancellation().is_over
    cancellation = Cancellation(3600)
    child = Cancellation(None, cancellation)
    child.check()
    cancellation.cancel()
    for one in (cancellation, child):
        assert one.is_over
        with pytest.raises(CancelledError, match="the work was cancelled by its caller"):
            one.check()
    late = Cancellation(1e-9)
    assert late.is_over
    with pytest.raises(DeadlineError, match="the work took longer than its timeout of 1e-09 s"):
        late.check()


@pytest.mark.parametrize("timeout", [0, -1, True, "1", float("nan"), float("inf")])
def test_a_timeout_that_is_none_is_refused(translator, generator, timeout):
    for call in (lambda: translator.translate("a", timeout=timeout), lambda: generator.generate("a", timeout=timeout)):
        with pytest.raises(InputError, match="timeout must be a number of seconds above 0, found"):
            call()
    with pytest.raises(InputError, match="cancellation must be a Cancellation, found str"):
        translator.translate("a", cancellation="soon")


def test_every_run_of_a_graph_within_running_looks_first():
    cancellation = Cancellation()
    assert session.run_graph(lambda: 1) == 1
    with cancellation.running():
        assert session.run_graph(lambda: 2) == 2
        cancellation.cancel()
        with pytest.raises(CancelledError):
            session.run_graph(lambda: 3)
    with pytest.raises(CancelledError), cancellation.running():
        pass
    assert session.run_graph(lambda: 4) == 4
    with pytest.raises(BundleError, match="can't run this bundle's graph"):
        session.run_graph(lambda: 1 / 0)


@pytest.mark.parametrize("beams", [1, 3])
def test_another_thread_ends_a_translation_at_its_next_step(translator, monkeypatch, beams):
    cancellation, runs = Cancellation(), []

    def ends_after_ten():
        runs.append(1)
        if len(runs) == 10:
            thread = threading.Thread(target=cancellation.cancel)
            thread.start()
            thread.join()
        check()

    check = session.check_cancellation
    monkeypatch.setattr(session, "check_cancellation", ends_after_ten)
    with pytest.raises(CancelledError):
        translator.translate(LONG, beams=beams, cancellation=cancellation)
    assert len(runs) == 10
    assert translator.translate("a b") == translator.translate("a b")


def test_a_translation_ends_with_its_deadline(translator):
    for work in (
        lambda: translator.translate(LONG, timeout=0.05),
        lambda: translator.n_best(LONG, 2, timeout=0.05),
        lambda: translator.generate_ids([[5, 6, 0]] * 50_000, timeout=0.05),
        lambda: list(translator.translate_iter(LONG, window=5000, timeout=0.05)),
    ):
        with pytest.raises(DeadlineError, match=r"the work took longer than its timeout of 0\.05 s"):
            work()


def test_a_text_ends_with_its_cancellation_wherever_it_is(generator):
    cancellation = Cancellation()
    pieces = generator.stream("a b", max_new_tokens=60, ignore_eos=True, cancellation=cancellation)
    assert next(pieces)
    cancellation.cancel()
    with pytest.raises(CancelledError):
        list(pieces)
    for work in (
        lambda: generator.generate(["a", "b"], cancellation=cancellation),
        lambda: generator.generate_ids([[5, 6]], cancellation=cancellation),
        lambda: list(generator.stream_ids([5, 6], cancellation=cancellation)),
        lambda: generator.score(["a b c"], cancellation=cancellation),
        lambda: generator.logits([5, 6], cancellation=cancellation),
    ):
        with pytest.raises(CancelledError):
            work()
    assert generator.generate("a b", max_new_tokens=3) == generator.generate("a b", max_new_tokens=3)


def test_awaited_calls_give_what_the_blocking_ones_give(translator, generator):
    async def run():
        assert await translator.atranslate("a b") == translator.translate("a b")
        assert await translator.atranslate(["a", "b c"], beams=2) == translator.translate(["a", "b c"], beams=2)
        texts = [text async for text in translator.atranslate_iter(iter(LONG[:7]), window=3)]
        assert texts == translator.translate(LONG[:7])
        assert await generator.agenerate("a", max_new_tokens=5) == generator.generate("a", max_new_tokens=5)
        pieces = [piece async for piece in generator.astream("a", max_new_tokens=5)]
        assert "".join(pieces) == generator.generate("a", max_new_tokens=5)
        with pytest.raises(InputError, match="max_new_tokens must be"):
            await generator.agenerate("a", max_new_tokens=0)
        with pytest.raises(DeadlineError):
            await translator.atranslate(LONG, timeout=0.01)

    asyncio.run(run())


def test_a_cancelled_task_ends_the_work_in_its_thread(translator, generator, monkeypatch):
    threads = threading.active_count()
    ended = threading.Event()

    def check():
        try:
            checked()
        except CancelledError:
            ended.set()
            raise

    checked = session.check_cancellation
    monkeypatch.setattr(session, "check_cancellation", check)

    async def cancel_soon(work):
        task = asyncio.ensure_future(work)
        await asyncio.sleep(0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return task.cancelled()

    async def consume():
        async for _ in generator.astream("a", max_new_tokens=60, ignore_eos=True):
            await asyncio.sleep(3600)

    assert asyncio.run(cancel_soon(translator.atranslate(LONG)))
    assert ended.wait(60)
    assert asyncio.run(cancel_soon(consume()))
    deadline = time.monotonic() + 60
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads


def test_a_closed_model_says_so(student_bundle, tmp_path):
    with edgekit.load(student_bundle) as translator:
        assert translator.translate("a")
        calls = [translator.translate, lambda text: translator.translate_iter([text]), lambda _: translator.memory()]
    for call in calls:
        with pytest.raises(InputError, match="this translator has been closed; load the model again"):
            call("a")


def test_memory_is_the_weights_the_sessions_and_what_is_kept(student_bundle, generator):
    translator = edgekit.load(student_bundle)
    before = translator.memory()
    assert before.weights == (student_bundle / "weights.safetensors").stat().st_size
    assert before.state == 0
    translator.translate("a", beams=2)
    assert before.sessions is None or translator.memory().sessions >= before.sessions >= 0
    state = generator.memory().state
    generator.generate("a prompt that is new " * 3, max_new_tokens=1)
    assert generator.memory().state > state


def test_sessions_are_what_the_process_grew_by(monkeypatch):
    loaded = LoadedSessions()
    before, grown = private_bytes(), iter((3_000, 5_000, 9_000, 8_000))
    assert before is None or before > 10_000_000  # an interpreter with onnxruntime
    monkeypatch.setattr("edgekit.runtime.memory.private_bytes", lambda: next(grown))
    for graph in ("encoder", "decoder"):
        with loaded.measure(graph):
            pass
    assert loaded.size_bytes == 2_000
    monkeypatch.setattr("edgekit.runtime.memory.private_bytes", lambda: None)
    with loaded.measure("beam_decoder"):
        pass
    assert loaded.size_bytes is None
