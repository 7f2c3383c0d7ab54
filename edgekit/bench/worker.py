"""The measured process: loads one bundle and answers requests.

Started as ``python -m edgekit.bench.worker BUNDLE THREADS [PREFIX_CACHE_BYTES]``.

A process of its own, so that its memory and load time are the runtime's alone: it imports the standard library,
`edgekit.load` and what that brings, and nothing of `edgekit.quality` or the rest of `edgekit.bench`.

In, on stdin, one JSON object a line; out, on stdout, one JSON object for each, after a first that reports the load::

    (start)                                             {"import_ms": 130.2, "load_ms": 41.0}
    {"do": "translate_each", "texts": [...]}            {"latency_ms": [...]}, one text at a time
    {"do": "translate_batched", "texts": [...],
     "batch_tokens": 512}                              {"translations": [...], "seconds": 1.25}
    {"do": "encode", "text": "..."}                     {"ids": [...]}
    {"do": "generate", "ids": [...],
     "new_tokens": 64, "prompt_lookup": false}          {"first_seconds": 0.17, "following_seconds": 0.5}
    {"do": "answer_each", ...}, {"do": "answer_bulk", ...}, {"do": "shared_prefix", ...}
                                                        as `edgekit.bench.answers` says
    {"do": "peak_memory"}                               {"peak_rss_bytes": 91234304, "mapped_bytes": 41000960}: the
                                                        largest resident memory, and the pages of files in it now; null
                                                        where unknown
    {"do": "quit"}                                      {}

Timed are the calls of `Translator.translate`, tokenisation included, and of `TextGenerator.stream_ids`, greedy and
behind EOS: to the first id, and from it to the last. JSON and pipes are not timed. A model's fault is answered with
``{"error": "..."}`` and ends the process; anything else is a traceback on stderr. The end of stdin ends it too.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TextIO

from edgekit.bench.answers import answer_bulk, answer_each, shared_prefix_bytes

if TYPE_CHECKING:
    from edgekit.runtime import TextGenerator, Translator

__all__ = ["main", "mapped_bytes", "peak_rss_bytes"]


ANSWERS = {"answer_each": answer_each, "answer_bulk": answer_bulk, "shared_prefix": shared_prefix_bytes}


def peak_rss_bytes() -> int | None:
    """The largest resident memory that this process has had, in bytes; None where the system does not say."""
    # Not getrusage: Linux hands ru_maxrss of the starting process on to the started one (see getrusage(2), execve).
    if (peak := _status_bytes("VmHWM")) is not None:
        return peak
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def mapped_bytes() -> int | None:
    """Resident pages of files, libraries and mapped weights, in bytes; None where the system does not say."""
    return _status_bytes("RssFile")


def _status_bytes(name: str) -> int | None:
    """A line of Linux's account of this process (proc(5), status), in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def answer(model: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The reply to one request of a `Translator` or a `TextGenerator`; see the module's table."""
    if request["do"] == "translate_each":
        return {"latency_ms": [_timed_ms(model, text) for text in request["texts"]]}
    if request["do"] == "translate_batched":
        start = perf_counter()
        translations = model.translate(request["texts"], batch_tokens=request["batch_tokens"])
        return {"translations": translations, "seconds": perf_counter() - start}
    if request["do"] == "encode":
        return {"ids": model.encode(request["text"])}
    if request["do"] == "generate":
        return _time_tokens(model, request["ids"], request["new_tokens"], request["prompt_lookup"])
    if request["do"] == "peak_memory":
        return {"peak_rss_bytes": peak_rss_bytes(), "mapped_bytes": mapped_bytes()}
    if request["do"] in ANSWERS:
        return ANSWERS[request["do"]](model, request)
    assert request["do"] == "quit", request
    return {}


def main(bundle: str, threads: int, prefix_cache_bytes: int | None = None) -> int:
    """Load the bundle, then answer requests until ``quit`` or the end of stdin; returns the exit status.

    Args:
        bundle: Its directory.
        threads: Threads for one inference.
        prefix_cache_bytes: Of a text generator; None for its default.
    """
    replies = _claim_stdout()
    start = perf_counter()
    import edgekit
    import edgekit.runtime
    from edgekit.errors import EdgekitError

    imported = perf_counter()
    try:
        if prefix_cache_bytes is None:
            model: Any = edgekit.load(bundle, threads=threads)
        else:
            model = edgekit.runtime.TextGenerator.load(bundle, threads, prefix_cache_bytes=prefix_cache_bytes)
        _send(replies, {"import_ms": 1e3 * (imported - start), "load_ms": 1e3 * (perf_counter() - imported)})
        for request in _read_requests():
            _send(replies, answer(model, request))
            if request["do"] == "quit":
                break
    except EdgekitError as error:
        _send(replies, {"error": str(error)})
        return 1
    return 0


def _timed_ms(translator: Translator, text: str) -> float:
    start = perf_counter()
    translator.translate(text)
    return 1e3 * (perf_counter() - start)


def _time_tokens(generator: TextGenerator, ids: list[int], new_tokens: int, prompt_lookup: bool) -> dict[str, float]:
    start = perf_counter()
    stream = generator.stream_ids(ids, max_new_tokens=new_tokens, ignore_eos=True, prompt_lookup=prompt_lookup)
    next(stream)
    first = perf_counter()
    for _ in range(new_tokens - 1):
        next(stream)
    last = perf_counter()
    # To its end, where the prompt is remembered: what a caller who reads on waits for as well, but not for its tokens.
    assert list(stream) == [], "more tokens than asked for"
    return {"first_seconds": first - start, "following_seconds": last - first}


def _read_requests() -> Iterator[dict[str, Any]]:
    for line in sys.stdin.buffer:
        yield json.loads(line)


def _send(replies: TextIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _claim_stdout() -> TextIO:
    """The real stdout, for replies alone: whatever a library prints goes to stderr from now on."""
    replies = os.fdopen(os.dup(1), "w", encoding="ascii", newline="\n")
    os.dup2(2, 1)
    return replies


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
    except (KeyboardInterrupt, BrokenPipeError):
        # The parent was interrupted, or has gone, and reports what there is to report; no flush may fail after this.
        os._exit(130)
