"""Logs as JSON lines on stderr: what happened, never what users wrote.

A line has ``time`` (UTC), ``level`` and ``event``; of a request also path, status, milliseconds, sizes and the model.
An exception is logged as its type and the places in the code that it passed through: its message may quote a text.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
import traceback
from pathlib import Path
from typing import Any

logger = logging.getLogger("edgekit.serve")


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON; what ``extra={"facts": {...}}`` holds becomes keys of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        values: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "event": record.getMessage().strip()}
        values |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[1] is not None:
            values["exception"] = type(record.exc_info[1]).__name__
            frames = traceback.extract_tb(record.exc_info[2])
            values["trace"] = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
        return json.dumps(values, ensure_ascii=False)


def log_to_stderr() -> None:
    """Sends the logs of edgekit's server, and of uvicorn's errors and notes, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name, level in (("edgekit.serve", logging.INFO), ("uvicorn.error", logging.WARNING)):
        found = logging.getLogger(name)
        found.handlers, found.propagate = [handler], False
        found.setLevel(level)
