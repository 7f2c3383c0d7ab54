"""Files that a command writes a report to: checked before minutes of work, and written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgekit.errors import OutputError

__all__ = ["check_writable", "is_stream", "write_file"]


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written before minutes of measuring.

    Raises:
        OutputError: The path is a directory, or its own directory is missing or read-only; or a read-only device.
    """
    if path.is_dir():
        raise OutputError(f"{path}: expected a file to write, found a directory; name a file in it")
    if is_stream(path):
        if not os.access(path, os.W_OK):
            raise OutputError(f"{path}: is not writable; choose another file")
        return
    # Of the file itself: /dev/stdout may be a link to one.
    parent = path.resolve().parent
    if not parent.is_dir():
        raise OutputError(f"{path}: its directory does not exist; create it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"{path}: its directory is not writable; choose another")


def is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe or a socket, which is written to and never replaced."""
    return path.exists() and not path.is_file()


def write_file(path: Path, text: str) -> None:
    """Write a file whole or not at all; a pipe or a device is written to as it is.

    Raises:
        OutputError: The disk is full, or the file cannot be written or replaced.
    """
    try:
        # Before its links are followed: the shell's >(command) is one to a pipe without a path.
        if is_stream(path):
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        # Renaming onto a link would replace the link.
        path = path.resolve()
        descriptor, staged = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            # mkstemp makes files private; a report is an ordinary file.
            os.chmod(staged, 0o644)
            os.replace(staged, path)
        except BaseException:
            os.unlink(staged)
            raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; nothing was kept") from None
