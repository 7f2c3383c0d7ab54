"""Downloads: resumed, bounded, and refused where they lead elsewhere."""

import time
import urllib.request

import pytest

from edgekit.errors import SourceError
from edgekit.export.sources import download as module
from edgekit.export.sources.checkpoint import UnavailableSourceError
from edgekit.export.sources.download import download, read_url, within

BODY = bytes(range(256)) * 1024  # 256 KiB


class RecordingBar:
    def __init__(self):
        self.total = None
        self.done = 0

    def advance(self, n=1):
        self.done += n

    def set_total(self, total):
        self.total = total


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "model.bin"


def get(url, target, max_bytes=1 << 20):
    bar = RecordingBar()
    download(url, target, max_bytes, bar)
    return bar


def left(target):
    return sorted(path.name for path in target.parent.iterdir())


def ranges(server):
    return [headers.get("Range") for _, _, headers in server.requests]


def test_a_whole_file_gets_its_name_and_leaves_no_part(server, target):
    bar = get(server.serve("/f", BODY), target)
    assert target.read_bytes() == BODY
    assert left(target) == ["model.bin"]
    assert (bar.done, bar.total) == (len(BODY), len(BODY))


def test_a_cut_line_is_resumed_where_it_was_cut_under_the_same_etag(server, target):
    bar = get(server.serve("/f", BODY, cuts=[100_000, 70_000]), target)
    assert target.read_bytes() == BODY
    assert ranges(server) == [None, "bytes=100000-", "bytes=170000-"]
    assert server.requests[1][2]["If-Range"] == '"v1"'
    assert (bar.done, bar.total) == (len(BODY), len(BODY))


def test_a_line_that_keeps_being_cut_fails_and_the_next_call_goes_on_from_there(server, target):
    url = server.serve("/f", BODY, cuts=[100_000, 1, 1])
    with pytest.raises(UnavailableSourceError, match="cut after 100,002 of 262,144 bytes; run again"):
        get(url, target)
    assert left(target) == ["model.bin.part", "model.bin.part.etag"]
    bar = get(url, target)
    assert target.read_bytes() == BODY
    assert (bar.done, bar.total) == (len(BODY), len(BODY))
    assert ranges(server)[-1] == "bytes=100002-"
    assert left(target) == ["model.bin"]


def test_a_file_that_changed_meanwhile_is_fetched_anew_not_joined(server, target):
    with pytest.raises(UnavailableSourceError):
        get(server.serve("/f", b"x" * 1000, cuts=[10, 10, 10]), target)
    get(server.serve("/f", BODY, etag='"v2"'), target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_a_part_without_a_strong_etag_is_never_continued(server, target, etag):
    get(server.serve("/f", BODY, etag=etag, cuts=[100_000]), target)
    assert target.read_bytes() == BODY
    assert ranges(server) == [None, None]


def test_a_part_as_long_as_the_file_is_thrown_away_and_fetched_again(server, target):
    (target.parent / "model.bin.part").write_bytes(b"y" * len(BODY))
    (target.parent / "model.bin.part.etag").write_text('"v1"')
    get(server.serve("/f", BODY), target)
    assert target.read_bytes() == BODY


def test_a_server_that_continues_elsewhere_than_asked_is_refused(server, target):
    url = server.serve("/f", BODY, cuts=[100_000], content_range="bytes 0-9/10")
    with pytest.raises(SourceError, match=r"sent the range 'bytes 0-9/10', expected bytes from 100000"):
        get(url, target)
    assert left(target) == []


def test_an_existing_file_survives_a_failed_download(server, target):
    target.write_bytes(b"old")
    with pytest.raises(SourceError):
        get(server.serve("/f", BODY), target, max_bytes=1000)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("declared", "message"),
    [(True, r"/f has 262,144 bytes, expected at most 1,000; it is not"), (False, r"/f is longer than 1,000 bytes")],
)
def test_a_body_over_the_limit_is_refused(server, target, declared, message):
    with pytest.raises(SourceError, match=message):
        get(server.serve("/f", BODY, declare_length=declared), target, max_bytes=1000)
    assert left(target) == []


def test_a_busy_server_is_asked_again(server, target):
    get(server.serve("/f", BODY, refusals=[503, 429]), target)
    assert target.read_bytes() == BODY


def test_a_server_that_stays_busy_is_unavailable(server, target):
    with pytest.raises(UnavailableSourceError, match="HTTP status 503; run again"):
        get(server.serve("/f", BODY, refusals=[503] * 3), target)


def test_a_missing_file_is_unavailable_at_once(server, target):
    with pytest.raises(UnavailableSourceError, match="/none answers with HTTP status 404"):
        get(server.url + "/none", target)
    assert len(server.requests) == 1


def test_an_unreachable_address_is_unavailable_at_once(closed_url, target):
    start = time.monotonic()
    with pytest.raises(UnavailableSourceError, match=r"127\.0\.0\.1:\d+ can't be reached \(Connection refused\)"):
        get(closed_url + "/f", target)
    assert time.monotonic() - start < 5


def test_a_line_that_drips_is_given_up(server, target, monkeypatch):
    monkeypatch.setattr(module, "STALL_SECONDS", 0.1)
    with pytest.raises(UnavailableSourceError, match=r"the line brought \d+ bytes in 0\.1 s"):
        get(server.serve("/f", BODY, drip=True), target)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/f", "data:,x", "/etc/hostname"])
def test_only_http_addresses_are_fetched(target, url):
    with pytest.raises(SourceError, match="is not an http or https address"):
        get(url, target)


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/f", "data:,x"])
def test_a_redirect_to_another_scheme_is_refused(server, target, location):
    url = server.serve("/f", status=302, headers={"Location": location})
    with pytest.raises(SourceError, match=r"redirects (to where edgekit does not|from http to ftp:, which is ref)"):
        get(url, target)
    assert left(target) == []


def test_a_redirect_from_https_to_http_is_refused():
    request = urllib.request.Request("https://example.invalid/f")
    with pytest.raises(SourceError, match="redirects from https to http:, which is refused"):
        module._HttpOnlyRedirects().redirect_request(request, None, 302, "Found", {}, "http://example.invalid/f")


def test_a_redirect_within_http_is_followed(server, target):
    server.serve("/g", BODY)
    get(server.serve("/f", status=302, headers={"Location": "/g"}), target)
    assert target.read_bytes() == BODY


def test_read_url_gives_a_small_body_and_refuses_a_large_or_cut_one(server):
    assert read_url(server.serve("/f", b"{}"), 2) == b"{}"
    with pytest.raises(SourceError, match="/f has 2 bytes, expected at most 1; it is not"):
        read_url(server.url + "/f", 1)
    with pytest.raises(UnavailableSourceError, match="cut after 1 of 2 bytes"):
        read_url(server.serve("/f", b"{}", cuts=[1]), 2)


def test_within_gives_the_result_or_the_exception_or_up():
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        within(0.05, lambda: time.sleep(1))
