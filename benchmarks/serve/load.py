"""`edgekit serve` under load: many clients at once, for minutes, with clients that misbehave among them.

    python benchmarks/serve/load.py BUNDLE [--clients 64] [--seconds 300] [--output load.json]

Starts a server of one translation bundle in a process of its own, and asks it over loopback from this one: first one
client, one request after the other (``one_client``), then all clients at once (``all_clients``), each over one
connection, each request one sentence of flores-dev. Meanwhile (``--hostile``, on by default) other connections send
half a request, garbage, or more than the server takes, or close before they are answered.

Timed: from a request's first byte to its answer's last, in the client. The clients take part of the same CPU, so the
throughput is that of a machine that does both. Memory is the server's resident set, each second; its growth is from
the mean of the second tenth of the run to the mean of the last. Exit status 1 where a request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from edgekit.bundle.read import open_bundle
from edgekit.quality.parallel_text import load_testset

GARBAGE = (
    b"POST /translate HTTP/1.1\r\nhos",
    b"\x16\x03\x01" + bytes(range(256)) + b"\r\n\r\n",
    b"POST /translate HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 2**21,
    b"POST /translate HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\n\r\n{",
)


class Client:
    """One connection that asks for one sentence after the other."""

    def __init__(self, port: int, languages: tuple[str, str]) -> None:
        self._port, self._languages = port, languages
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def request(self, text: str) -> bytes:
        """A request's bytes."""
        source, target = self._languages
        body = json.dumps({"q": text, "source": source, "target": target}).encode()
        head = "POST /translate HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    async def ask(self, text: str) -> int:
        """The status of the answer to one text, read to its end."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(self.request(text))
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        await reader.readexactly(int(length[1]))
        return int(head[9:12])


async def ask_until(end: float, client: Client, texts: list[str], seed: int, found: list[tuple[float, int]]) -> None:
    """Asks until ``end``; adds the seconds and the status of each request, 0 for a connection that broke."""
    order = random.Random(seed)
    while time.monotonic() < end:
        start = time.monotonic()
        try:
            status = await client.ask(order.choice(texts))
        except (OSError, asyncio.IncompleteReadError):
            client._streams, status = None, 0
        found.append((time.monotonic() - start, status))


async def misbehave(end: float, port: int, client: Client) -> int:
    """Every half a second another connection that does no good; how many."""
    order, count = random.Random(0), 0
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            vanishing = client.request("This client goes away before it is answered.")
            writer.write(order.choice([*GARBAGE, vanishing, vanishing]))
            await asyncio.sleep(0.05)
            writer.transport.abort()
            count += 1
        await asyncio.sleep(0.45)
    return count


async def watch(end: float, process: psutil.Process) -> list[int]:
    """The resident set of the server, each second, in bytes."""
    sizes = []
    while time.monotonic() < end:
        sizes.append(process.memory_info().rss)
        await asyncio.sleep(1)
    return sizes


async def measure(
    seconds: float, count: int, port: int, languages: tuple[str, str], texts: list[str], server: int, hostile: bool
) -> dict[str, Any]:
    """Asks from ``count`` clients at once."""
    found: list[tuple[float, int]] = []
    start = time.monotonic()
    end = start + seconds
    bad = misbehave(end, port, Client(port, languages)) if hostile else asyncio.sleep(0, 0)
    asking = [ask_until(end, Client(port, languages), texts, index, found) for index in range(count)]
    sizes, misbehaved, *_ = await asyncio.gather(watch(end, psutil.Process(server)), bad, *asking)
    wall = time.monotonic() - start
    latencies = sorted(taken for taken, _ in found)
    tenth = max(1, len(sizes) // 10)
    return {
        "clients": count,
        "seconds": round(wall, 2),
        "requests": len(found),
        "failed": sum(status != 200 for _, status in found),
        "requests_per_second": round(len(found) / wall, 2),
        "latency_ms": {name: round(1000 * latencies[int(share * (len(latencies) - 1))], 1) for name, share in SHARES},
        "hostile_connections": misbehaved,
        "memory_mb": {
            "first": round(sizes[0] / 1e6, 1),
            "largest": round(max(sizes) / 1e6, 1),
            "growth_after_warm_up": round(
                (statistics.mean(sizes[-tenth:]) - statistics.mean(sizes[tenth : 2 * tenth] or sizes)) / 1e6, 1
            ),
        },
    }


SHARES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("largest", 1.0))


def main() -> int:
    """Runs the server and the clients; prints the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--hostile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    manifest = open_bundle(options.bundle).manifest
    languages = (manifest.languages.source or "", manifest.languages.target or "")
    texts = list(load_testset("flores-dev", *languages).sources)
    command = [sys.executable, "-m", "edgekit", "serve", str(options.bundle), "--port", "0"]
    command += ["--workers", str(options.workers)] if options.workers else []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            port = urlsplit(json.loads(server.stderr.readline())["url"]).port
            assert port is not None
            with contextlib.ExitStack() as drained:
                drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
                drained.callback(drain.wait)
                drained.callback(server.terminate)
                runs = [(min(20.0, options.seconds / 4), 1, False), (options.seconds, options.clients, options.hostile)]
                one, many = (
                    asyncio.run(measure(seconds, count, port, languages, texts, server.pid, hostile))
                    for seconds, count, hostile in runs
                )
        finally:
            server.terminate()
    report = {
        "bundle": f"{manifest.name}-{manifest.precision}",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": psutil.cpu_count()},
        "workers": options.workers,
        "one_client": one,
        "all_clients": many,
        "speedup": round(many["requests_per_second"] / one["requests_per_second"], 2),
        "exit_status": server.returncode,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    return 1 if one["failed"] or many["failed"] or server.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
