"""Processes that Ctrl-C can end, also where the tests themselves ignore it."""

import signal

import pytest


@pytest.fixture
def interruptible():
    """SIGINT ends what the test starts: a shell's background jobs ignore it, and so would their children."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)
