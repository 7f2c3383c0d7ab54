"""Damaged copies of a good file, and what every reader owes them: a value or one line, soon, in little memory."""

import random
import time
import tracemalloc

from edgekit.errors import EdgekitError

MAX_SECONDS = 20
MAX_BYTES = 64 << 20


def damaged_copies(data: bytes, count: int, seed: int = 0):
    """Truncations at ``count`` offsets, then ``count`` copies with bytes changed, half of them near the start."""
    rng = random.Random(seed)
    offsets = {rng.randrange(len(data)) for _ in range(count)} | {0, 1, 2, 8, 16, len(data) - 1}
    yield from (data[:offset] for offset in sorted(offsets))
    yield data + b"\0"
    for index in range(count):
        copy = bytearray(data)
        reach = min(len(data), 2048) if index % 2 else len(data)
        for _ in range(rng.randint(1, 4)):
            copy[rng.randrange(reach)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        yield bytes(copy)


def refusals(read, path, copies) -> list[str]:
    """Lets ``read(path)`` loose on each copy; returns what it said about those it refused, one line each."""
    messages = []
    tracemalloc.start()
    try:
        for copy in copies:
            path.write_bytes(copy)
            tracemalloc.reset_peak()
            before, started = tracemalloc.get_traced_memory()[0], time.monotonic()
            try:
                read(path)
            except EdgekitError as error:
                messages.append(str(error))
            assert time.monotonic() - started < MAX_SECONDS
            assert tracemalloc.get_traced_memory()[1] - before < MAX_BYTES
    finally:
        tracemalloc.stop()
    for message in messages:
        assert str(path) in message
        assert len(message.splitlines()) == 1, message
        assert len(message) < 600, message
    return messages
