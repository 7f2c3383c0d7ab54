"""Requests that are no requests, clients that go or wait: each is answered or dropped, and the server goes on."""

import contextlib
import http.client
import json
import random
import socket
import threading

import pytest

from tests.serve.server_process import read_all

EN_DE = {"source": "en", "target": "de"}
HEAD = b"POST /translate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def assert_serves(server):
    assert server.post("/translate", {"q": "Hello", **EN_DE})[0] == 200


def test_a_hundred_megabytes_are_not_read(server):
    for extra in (b"content-length: 100000000\r\n", b"transfer-encoding: chunked\r\n"):
        connection = server.raw(HEAD + extra + b"\r\n")
        sent = 0
        chunk = b"x" * 2**20 if b"length" in extra else b"100000\r\n" + b"x" * 2**20 + b"\r\n"
        with contextlib.suppress(ConnectionError):
            while sent < 100:
                connection.sendall(chunk)
                sent += 1
        assert sent < 100
        answer = read_all(connection)
        assert not answer or answer.startswith(b"HTTP/1.1 413 ")
    assert_serves(server)


def test_a_body_a_little_too_long_is_told_so(server):
    status, answer = server.post("/translate", {"q": "x" * 2**20})
    assert (status, answer["error"]) == (413, "a body must have at most 1048576 bytes")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10000 + b"\r\n",
        b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        random.Random(0).randbytes(5000) + b"\r\n\r\n",
    ],
)
def test_garbage_is_refused_and_the_connection_closed(server, data):
    with contextlib.suppress(ConnectionError):
        connection = server.raw(data)
        assert read_all(connection)[9:12] in {b"400", b""}
    assert_serves(server)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"q": NaN}', "application/json", 400),
        (b'{"q": ' + b"9" * 10000 + b"}", "application/json", 400),
        (b"[" * 100000, "application/json", 400),
        (b'{"q":' * 100000, "application/json", 400),
        (b"q=%ff&source=en&target=de", "application/x-www-form-urlencoded", 400),
        (b"a=b&" * 2000, "application/x-www-form-urlencoded", 400),
        (b"x", "multipart/form-data; boundary=x", 415),
        (b"x", "text/plain", 415),
    ],
)
def test_bodies_that_cannot_be_read_are_refused(server, body, kind, status):
    for path in ("/translate", "/v1/completions"):
        found, _, answer = server.request("POST", path, body, {"content-type": kind})
        assert found == status
        assert answer["error"]
    assert_serves(server)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": 5}, "messages must be an array"),
        ({"messages": [{"role": "user", "content": "x"}]}, "model must be a text, found nothing"),
        ({"messages": ["x"]}, "messages[0] must be an object, found a string"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role must be one of developer, system"),
        ({"messages": [{"role": [], "content": "x"}]}, "messages[0].role must be one of"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "or parts of type text"),
        ({"max_tokens": -1}, "max_tokens must be a whole number from 1"),
        ({"max_tokens": True}, "max_tokens must be a whole number from 1"),
        ({"temperature": "hot"}, "temperature must be a number, found a string"),
        ({"top_k": 1.5}, "top_k must be a whole number from 1, found 1.5"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"stop": [""]}, "stop must hold texts that are not empty"),
        ({"stop": ["a"] * 17}, "stop must hold at most 16 texts, found 17"),
        ({"stream": "yes"}, "stream must be true or false, found a string"),
        ({"stream_options": 1}, "stream_options must be an object, found a number"),
        ({"n": 2}, "n is not supported"),
        ({"logit_bias": {"1": 5}}, "logit_bias is not supported"),
    ],
)
def test_wrong_fields_of_a_chat_are_named(server, fields, message):
    good = {} if "messages" in fields or fields == {"model": 5} else {"messages": [{"role": "user", "content": "x"}]}
    model = {} if "model" in message or "model" in fields else {"model": "tiny-fp32"}
    status, answer = server.post("/v1/chat/completions", {**good, **model, **fields})
    assert status == 400
    assert message in answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error"


def test_unknown_paths_and_methods_are_told_in_each_apis_shape(server):
    assert server.get("/nothing")[0] == 404
    assert server.get("/v1/nothing")[1]["error"]["message"] == "GET '/v1/nothing': Not Found"
    status, headers, _ = server.request("GET", "/translate")
    assert (status, headers["allow"]) == (405, "POST")


def test_no_text_and_no_key_is_in_the_log(server):
    secret = "Xanthippe wohnt hier"
    server.post("/translate", {"q": secret, "api_key": "k-" + secret, **EN_DE})
    server.post("/translate?q=" + secret.replace(" ", "+"), {"q": secret, "source": secret, "target": secret})
    server.post("/v1/completions", {"model": "tiny-fp32", "prompt": secret, "temperature": secret})
    server.get("/" + secret.replace(" ", "%20"))
    server.post("/v1/completions", {"model": "tiny-fp32", "prompt": "marks the end", "max_tokens": 1})
    while server.wait_for_log("request").get("tokens") != 1:
        pass
    assert "Xanthippe" not in json.dumps(server.log)
    assert any(line.get("characters") == len(secret) for line in server.log)


def test_slow_senders_are_dropped_and_late_answers_refused(start_gated):
    server, _ = start_gated(receive_seconds=0.5, seconds=1.5)
    halves = {
        "head": server.raw(b"POST /translate HTTP/1.1\r\nhos"),
        "nothing": server.raw(b""),
        "body": server.raw(HEAD + b"content-length: 50\r\n\r\n{"),
        "second head": server.raw(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET"),
    }
    status, answer = server.post("/translate", {"q": "waits for the gate", **EN_DE})
    assert (status, answer) == (504, {"error": "the request took longer than this server's 1.5 s"})
    answers = {name: read_all(connection) for name, connection in halves.items()}
    assert answers["head"] == answers["nothing"] == b""
    assert answers["body"].startswith(b"HTTP/1.1 408 ")
    assert answers["second head"].startswith(b"HTTP/1.1 200 ")
    assert server.metric("edgekit_requests_in_progress") == 0


def test_a_stream_that_takes_too_long_says_so_and_a_client_that_reads_nothing_is_dropped(start_gated):
    server, _ = start_gated(seconds=1.0, stall_seconds=0.5)
    fields = {"model": "tiny-fp32", "prompt": "The", "max_tokens": 150}
    status, stream = server.post("/v1/completions", {**fields, "stream": True})
    events = stream.split(b"\n\n")
    assert (status, events[-1]) == (200, b"")
    assert json.loads(events[-2].removeprefix(b"data: "))["error"]["code"] == "timeout"
    status, answer = server.post("/v1/completions", fields)
    assert (status, answer["error"]["message"]) == (504, "the request took longer than this server's 1 s")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect((server.host, server.port))
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 3000)
        assert connection.recv(1) == b"H"
        server.wait_until_it_drops(connection.getsockname()[1])
    assert server.get("/health")[0] == 200


def test_a_full_queue_says_when_to_come_again(start_gated):
    server, open_gate = start_gated(requests=2)
    answers = []
    waiting = [
        threading.Thread(target=lambda: answers.append(server.post("/translate", {"q": "a", **EN_DE})))
        for _ in range(2)
    ]
    for thread in waiting:
        thread.start()
    server.wait_for_metric("edgekit_requests_in_progress", 2)
    status, headers, answer = server.request("POST", "/translate", {"q": "b", **EN_DE})
    assert (status, headers["retry-after"]) == (503, "1")
    assert answer == {"error": "all 2 places of this server's queue are taken; try again"}
    status, answer = server.post("/v1/completions", {"model": "tiny-fp32", "prompt": "x"})
    assert (status, answer["error"]["code"]) == (503, "queue_full")
    open_gate()
    for thread in waiting:
        thread.join()
    assert [(status, answer["translatedText"]) for status, answer in answers] == [(200, "A")] * 2
    assert_serves(server)


def test_clients_that_vanish_free_their_places(start_gated):
    server, open_gate = start_gated(requests=2)
    body = json.dumps({"q": "a", **EN_DE}).encode()
    vanishing = [server.raw(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body) for _ in range(2)]
    server.wait_for_metric("edgekit_requests_in_progress", 2)
    for connection in vanishing:
        connection.close()
    server.wait_for_metric("edgekit_requests_in_progress", 0)
    fields = {"model": "tiny-fp32", "prompt": "The", "max_tokens": 150, "stream": True}
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("POST", "/v1/completions", json.dumps(fields), {"content-type": "application/json"})
    response = connection.getresponse()
    assert response.read(5) == b"data:"
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    response.close()
    server.wait_for_metric("edgekit_requests_in_progress", 0)
    assert 0 < server.metric("edgekit_generated_tokens_total") < 150
    open_gate()
    assert_serves(server)
    assert server.post("/v1/completions", fields | {"max_tokens": 3, "stream": False})[0] == 200
    server.terminate()
    assert server.wait()[0] == 0
    assert [line["status"] for line in server.log if line.get("status") == 499] == [499] * 3


def test_a_fault_is_one_requests_and_its_text_stays_out_of_the_log(start_gated):
    server, open_gate = start_gated()
    open_gate()
    status, answer = server.post("/translate", {"q": "a secret fault", **EN_DE})
    assert (status, answer) == (500, {"error": "the server failed; its log says where"})
    assert server.post("/translate", {"q": "a", **EN_DE}) == (200, {"translatedText": "A", "model": "gated"})
    server.terminate()
    assert server.wait()[0] == 0
    (fault,) = [line for line in server.log if "exception" in line]
    assert fault["exception"] == "ValueError"
    assert any("gated_server.py" in place for place in fault["trace"])
    assert "secret" not in json.dumps(server.log)
