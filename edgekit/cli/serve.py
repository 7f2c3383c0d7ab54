"""``edgekit serve``: bundles over HTTP, until SIGTERM or Ctrl-C.

Logs are JSON lines on stderr, without users' texts; stdout stays empty.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import click

from edgekit.cache import PRECISIONS
from edgekit.cli.on_demand import bundle_for
from edgekit.cli.output import note

DEFAULT_PORT = 8000
MOST_WORKERS = 4


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0: a free one.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="Threads for one product; default 1.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help=f"Batches of a translation model that run at once; default: this machine's cores, up to {MOST_WORKERS}.",
)
@click.option(
    "--api-keys",
    metavar="FILE",
    help="Answer only requests with one of these keys, one a line; EDGEKIT_API_KEYS does the same.",
)
@click.option(
    "--queue", "requests", type=click.IntRange(min=1), default=256, show_default=True, help="Most unanswered requests."
)
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(min=0.1),
    default=120.0,
    show_default=True,
    help="Most seconds for a request.",
)
@click.option(
    "--max-characters",
    "characters",
    type=click.IntRange(min=1),
    default=50_000,
    show_default=True,
    help="Most characters of a request's texts.",
)
@click.option(
    "--max-body-bytes",
    "body_bytes",
    type=click.IntRange(min=1),
    default=2**20,
    show_default=True,
    help="Most bytes of a request's body.",
)
@click.option(
    "--max-new-tokens",
    "new_tokens",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Most tokens of a generated text, whatever a request says.",
)
@click.option(
    "--batch-ms",
    type=click.FloatRange(0, 1000),
    default=3.0,
    show_default=True,
    help="How long a translation waits for others to run with.",
)
def command(
    models: tuple[str, ...],
    host: str,
    port: int,
    precision: str,
    threads: int | None,
    workers: int | None,
    api_keys: str | None,
    batch_ms: float,
    **limits: Any,
) -> None:
    """Serve each MODEL over HTTP: a bundle, or what `edgekit export` takes (exported into the cache when needed).

    One given twice is served once; two others of one name are refused. Translation models answer as LibreTranslate does
    (POST /translate, GET /languages), language models as OpenAI's API (/v1/chat/completions, /v1/completions,
    /v1/models). Also /health, /metrics for Prometheus, and a page at /.

    \b
    Examples:
      edgekit serve marian-en-de
      edgekit serve ./marian-en-de-int8 ./marian-en-de-fp32 ./smollm2-135m-int4 --port 5000
      EDGEKIT_API_KEYS=secret edgekit serve marian-en-de --host 0.0.0.0
    """
    from edgekit.serve.api_keys import ApiKeys
    from edgekit.serve.limits import Limits
    from edgekit.serve.models import Models
    from edgekit.serve.server import serve
    from edgekit.serve.service import Service

    keys = ApiKeys.read(api_keys)
    bundles: dict[Path, Path] = {}
    for path in (bundle_for(model, precision, None) for model in models):
        if path.resolve() in bundles:
            note(f"{path} is given twice; it is served once")
        bundles.setdefault(path.resolve(), path)
    bounds = dataclasses.replace(Limits(), batch_seconds=batch_ms / 1000, **limits)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    service = Service(Models.load(list(bundles.values()), threads), bounds, keys, workers or min(cores, MOST_WORKERS))
    serve(service, host, port)
