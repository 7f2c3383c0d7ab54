"""Fetches one file over HTTP: resumed where it was cut, bounded, and given its name only when whole.

In: an http(s) address, a target path and the most bytes that it may have. Out: the file, or one error and, if the line
was cut, a ``.part`` file that the next call goes on from. A part is continued only under the same strong ETag
(RFC 9110, sections 13.1.5 and 14.2), so that two versions are never joined. Refuses other schemes, redirects to them or
from https to http, bodies over the limit, and lines slower than 1 kB/s. Hashes are the caller's to check. HTTP itself,
proxies (``HTTPS_PROXY``) and certificates (``SSL_CERT_FILE``) are the standard library's: which HTTP client
huggingface_hub brings depends on its version.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from edgekit import __version__
from edgekit.bundle.files import sync_file
from edgekit.errors import SourceError
from edgekit.export.sources.checkpoint import ProgressBar, UnavailableSourceError, no_progress

__all__ = ["download", "read_url", "within"]

CHUNK_BYTES = 1 << 16
# Seconds for one connection with all its addresses, its redirects and its first byte.
CONNECT_SECONDS = 10.0
STALL_SECONDS = 20.0
STALL_BYTES = 20_000
ATTEMPTS = 3
RETRY_SECONDS = 0.5
RETRY_STATUSES = (408, 416, 425, 429, 500, 502, 503, 504)

Result = TypeVar("Result")


class _CutError(Exception):
    """The line was cut or the server busy; the message says how. Worth another attempt."""


class _PastEndError(_CutError):
    """The part is as long as the file, or longer (status 416)."""


@dataclass
class _Part:
    """A file that is not whole yet, the ETag it belongs to beside it, and the bar that shows its length."""

    path: Path
    bar: ProgressBar
    shown_bytes: int = 0

    @property
    def etag_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.etag")

    @property
    def length(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def show(self, length: int) -> None:
        self.bar.advance(length - self.shown_bytes)
        self.shown_bytes = length

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.etag_path.unlink(missing_ok=True)


class _HttpOnlyRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old, new) == ("https", "http"):
            raise SourceError(f"{req.full_url} redirects from {old} to {new}:, which is refused; check the address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, target: Path, max_bytes: int, bar: ProgressBar) -> None:
    """Fetch a file to `target`; a ``.part`` file beside it from an earlier call is continued.

    Args:
        url: http or https.
        target: Where it goes, replaced if it exists. Its directory is made.
        max_bytes: Refuse anything longer.
        bar: Told the total and each chunk's length in bytes.

    Raises:
        UnavailableSourceError: The address can't be reached, has no such file, or kept cutting the line.
        SourceError: The body is too long, or the server leads elsewhere; nothing is kept of it.
        OSError: The target can't be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target.with_name(f"{target.name}.part"), bar)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _fetch_rest(url, part, max_bytes)
            break
        except _CutError as error:
            if attempt == ATTEMPTS:
                raise UnavailableSourceError(f"{url}: {error}; run again to go on from there") from None
            time.sleep(RETRY_SECONDS * attempt)
        except UnavailableSourceError:
            raise
        except SourceError:
            part.discard()
            raise
    sync_file(part.path)
    os.replace(part.path, target)
    part.discard()


def read_url(url: str, max_bytes: int) -> bytes:
    """The body of a small file, in one attempt.

    Raises:
        UnavailableSourceError: The address can't be reached, has no such file, or cut the line.
        SourceError: The body is longer than `max_bytes`.
    """
    body = io.BytesIO()
    try:
        with _open(url, {}) as response, no_progress(url) as bar:
            _copy(response, body, max_bytes, url, bar.advance)
    except _CutError as error:
        raise UnavailableSourceError(f"{url}: {error}") from None
    return body.getvalue()


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """The result of `call`, or its exception; `TimeoutError` if it takes longer than `seconds`.

    Name resolution and connecting to several addresses in turn have no time limit of their own. A call that is given up
    goes on in a daemon thread and its result is dropped.
    """
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def _fetch_rest(url: str, part: _Part, max_bytes: int) -> None:
    """One attempt: append what is missing to `part`, or write it anew if the server does not continue it."""
    offset, headers = part.length, {}
    if offset and part.etag_path.exists():
        headers = {"Range": f"bytes={offset}-", "If-Range": part.etag_path.read_text("ascii")}
    try:
        response = _open(url, headers)
    except _PastEndError:
        part.discard()
        raise
    with response:
        if not _continues(response, offset):
            offset = 0
        with open(part.path, "ab" if offset else "wb") as file:
            # After the part is emptied: a crash in between must not pair an old part with a new tag.
            _keep_etag(response, part)
            if response.length is not None:
                part.bar.set_total(offset + response.length)
            part.show(offset)
            _copy(response, file, max_bytes, url, lambda count: part.show(part.shown_bytes + count))


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """A response of status 200 or 206, its body not yet read."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise SourceError(f"{url} is not an http or https address, which are all that edgekit fetches")
    # Without the handlers for file:, ftp: and data: that build_opener would add.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _HttpOnlyRedirects(),
    ):
        opener.add_handler(handler)
    # identity: lengths, ranges and hashes are those of the stored file.
    sent = {"User-Agent": f"edgekit/{__version__}", "Accept-Encoding": "identity", **headers}
    request = urllib.request.Request(url, headers=sent)
    try:
        response: http.client.HTTPResponse = within(
            CONNECT_SECONDS, lambda: opener.open(request, timeout=CONNECT_SECONDS)
        )
    except urllib.error.HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            raise SourceError(f"{url} redirects to where edgekit does not follow ({error.reason})") from None
        if error.code in RETRY_STATUSES:
            is_past_end = error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            raise (_PastEndError if is_past_end else _CutError)(f"HTTP status {error.code}") from None
        raise UnavailableSourceError(f"{url} answers with HTTP status {error.code}") from None
    except urllib.error.URLError as error:
        raise UnavailableSourceError(f"{urlsplit(url).netloc} can't be reached ({_reason(error.reason)})") from None
    except TimeoutError as error:
        raise UnavailableSourceError(f"{urlsplit(url).netloc} can't be reached ({error})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(f"the connection was cut ({_reason(error)})") from None
    assert isinstance(response, http.client.HTTPResponse)
    return response


def _copy(
    response: http.client.HTTPResponse, file: IO[bytes], max_bytes: int, url: str, advance: Callable[[int], object]
) -> None:
    """Append the body's chunks to `file` as they come; raises _CutError on a stall or a broken connection."""
    # Kept, because whether read1 counts it down depends on Python's version.
    total = None if response.length is None else file.tell() + response.length
    if total is not None and total > max_bytes:
        raise SourceError(f"{url} has {total:,} bytes, expected at most {max_bytes:,}; it is not the known file")
    window_start, window_bytes = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _CutError(f"the connection was cut after {file.tell():,} bytes ({_reason(error)})") from None
        if not chunk:
            break
        if file.tell() + len(chunk) > max_bytes:
            raise SourceError(f"{url} is longer than {max_bytes:,} bytes; it is not the known file")
        file.write(chunk)
        advance(len(chunk))
        window_bytes += len(chunk)
        if time.monotonic() - window_start > STALL_SECONDS:
            if window_bytes < STALL_BYTES:
                raise _CutError(f"the line brought {window_bytes:,} bytes in {STALL_SECONDS:g} s")
            window_start, window_bytes = time.monotonic(), 0
    if total is not None and file.tell() < total:
        raise _CutError(f"the connection was cut after {file.tell():,} of {total:,} bytes")


def _continues(response: http.client.HTTPResponse, offset: int) -> bool:
    """Whether the body is the file from `offset` on; False for a whole file (200)."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return False
    content_range = response.headers.get("Content-Range", "")
    if not content_range.startswith(f"bytes {offset}-"):
        raise SourceError(f"the server sent the range {content_range!r}, expected bytes from {offset}; try again")
    return True


def _keep_etag(response: http.client.HTTPResponse, part: _Part) -> None:
    """Remember a strong ETag; a weak one (W/) may cover bodies that differ."""
    etag = response.headers.get("ETag", "")
    if re.fullmatch(r'"[!-~]*"', etag):
        part.etag_path.write_text(etag, "ascii")
    else:
        part.etag_path.unlink(missing_ok=True)


def _reason(error: object) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
