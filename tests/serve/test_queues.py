"""Queues and the threads that empty them: turns, batches, what is left out, and what a fault does."""

import asyncio
import threading

import pytest

from edgekit.errors import InputError
from edgekit.runtime.cancellation import Cancellation
from edgekit.serve.admission import Admission
from edgekit.serve.fair_queue import FairQueue
from edgekit.serve.request_error import RequestError
from edgekit.serve.text_schedule import Piece, TextJob, TextSchedule
from edgekit.serve.translation_batches import TranslationBatches

LONG = 60


class Letters:
    """A stand-in for `TokenStream`: an id is a character; ``.`` ends the text."""

    stopped = False

    def push(self, token_id):
        self.stopped = token_id == ord(".")
        return "" if self.stopped else chr(token_id)

    def finish(self):
        return ""


def waiting(seconds=LONG):
    return Cancellation(seconds)


def test_lanes_take_turns():
    queue = FairQueue()
    queue.put("a", ["a1", "a2", "a3"])
    queue.put("b", ["b1"])
    queue.put("a", ["a4"])
    queue.put("c", ["c1", "c2"])
    assert [queue.take(0) for _ in range(8)] == ["a1", "b1", "c1", "a2", "c2", "a3", "a4", None]


def test_a_closed_queue_gives_what_it_has_and_lets_go():
    queue = FairQueue()
    found = []
    taker = threading.Thread(target=lambda: found.extend(iter(queue.take, None)))
    queue.put("a", ["one", "two"])
    taker.start()
    queue.close()
    taker.join(LONG)
    assert found == ["one", "two"]
    assert queue.take() is None


def test_places_are_given_back():
    admission = Admission(1)
    with admission.place(), pytest.raises(RequestError, match="all 1 places of this server's queue are taken"):
        admission.place().__enter__()
    assert admission.taken == 0
    with admission.place():
        assert admission.taken == 1


@pytest.fixture
def batches():
    """A model that waits for a gate, and the batches that it got."""
    found, gate = [], threading.Event()

    def translate(texts):
        gate.wait(LONG)
        found.append(texts)
        if "bad" in texts:
            raise InputError("this text can't be translated")
        return [text.upper() for text in texts]

    queue = TranslationBatches(translate, workers=1, batch_seconds=0.2)
    yield queue, found, gate
    queue.close()


def test_texts_of_many_requests_run_together(batches):
    queue, found, gate = batches
    gate.set()

    async def ask():
        return await asyncio.gather(*(queue.translate([f"{i}a", f"{i}b"], waiting()) for i in range(5)))

    assert asyncio.run(ask()) == [[f"{i}A", f"{i}B"] for i in range(5)]
    assert [len(batch) for batch in found] == [10]


def test_a_bad_text_fails_its_own_request_only(batches):
    queue, _, gate = batches
    gate.set()

    async def ask():
        requests = (["good"], ["fine", "bad"], ["well"])
        return await asyncio.gather(*(queue.translate(texts, waiting()) for texts in requests), return_exceptions=True)

    first, second, third = asyncio.run(ask())
    assert (first, third) == (["GOOD"], ["WELL"])
    assert isinstance(second, InputError)


def test_texts_that_nobody_waits_for_are_left_out(batches):
    queue, found, gate = batches
    gone = waiting()

    async def ask():
        first = asyncio.ensure_future(queue.translate(["first"], waiting()))
        await asyncio.sleep(0.4)  # it runs, alone, and waits for the gate
        rest = [
            asyncio.ensure_future(queue.translate([text], wait))
            for text, wait in (("gone", gone), ("late", waiting(1e-9)), ("last", waiting()))
        ]
        gone.cancel()
        gate.set()
        result = await first, await rest[2]
        for future in rest[:2]:
            future.cancel()
        return result

    assert asyncio.run(ask()) == (["FIRST"], ["LAST"])
    assert found == [["first"], ["last"]]


def run_texts(*clients, most_running=8):
    """Runs texts given as (client, [(ids, limit, patience), ...]): all pieces in the order in which they came."""
    events, gate = [], threading.Event()

    def gated(ids):
        gate.wait(LONG)
        for token_id in ids:
            if token_id == 0:
                raise ValueError("a fault")
            yield token_id

    schedule = TextSchedule(most_running)
    for client, jobs in clients:
        schedule.put(
            client,
            [
                TextJob(
                    gated(ids), limit, Letters(), wait, lambda event, name=f"{client}{i}": events.append((name, event))
                )
                for i, (ids, limit, wait) in enumerate(jobs)
            ],
        )
    gate.set()
    schedule.close()
    return events


def test_running_texts_get_a_token_in_turn():
    events = run_texts(("a", [(b"xyz", 3, waiting())]), ("b", [(b"pqr", 3, waiting())]))
    assert [name for name, _ in events][1:] in (["b0", "a0", "b0", "a0", "b0"], ["a0", "b0", "a0", "b0", "b0"])
    assert [event for name, event in events if name == "a0"] == [
        Piece("x", 1, None),
        Piece("y", 2, None),
        Piece("z", 3, "length"),
    ]


def test_a_client_with_many_requests_does_not_hold_up_another():
    many = [(b"x" * 5, 5, waiting()) for _ in range(6)]
    events = run_texts(("a", many), ("b", [(b"y", 1, waiting())]), most_running=1)
    ends = [name for name, event in events if event.finish_reason]
    assert ends.index("b0") <= 2
    assert len(ends) == 7


def test_texts_end_by_stop_eos_limit_fault_or_when_nobody_waits():
    events = run_texts(
        ("stop", [(b"a.b", 9, waiting())]),
        ("eos", [(b"ab", 9, waiting())]),
        ("fault", [(b"a\x00", 9, waiting())]),
        ("late", [(b"ab", 9, waiting(1e-9))]),
    )
    last = dict(events)
    assert last["stop0"] == Piece("", 2, "stop")
    assert last["eos0"] == Piece("", 2, "stop")
    assert str(last["fault0"]) == "a fault"
    assert isinstance(last["late0"], TimeoutError)
