"""Many clients at once: no error, batches form, answers do not depend on neighbours; SIGTERM loses nothing."""

import http.client
import json
import threading
import time

import edgekit
from tests.serve.server_process import ServerProcess

EN_DE = {"source": "en", "target": "de"}
SENTENCES = [
    "Good morning!",
    "The house is old.",
    "Where is the station?",
    "I would like a cup of coffee, please.",
    "The children are playing in the garden behind the house.",
    "Thank you.",
    "My brother lives in a small town.",
]
CLIENTS, SECONDS = 64, 2


def in_threads(count, work):
    threads = [threading.Thread(target=work, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_64_clients_get_what_one_would(server, embedded_int8):
    expected = dict(zip(SENTENCES, edgekit.load(embedded_int8).translate(SENTENCES), strict=True))
    until = time.monotonic() + SECONDS
    wrong, counts = [], [0] * CLIENTS
    texts_before, batches_before = (server.metric(f"edgekit_batch_texts_{part}") for part in ("sum", "count"))

    def ask(index):
        connection = server.connect()
        while time.monotonic() < until or not counts[index]:
            text = SENTENCES[(index + counts[index]) % len(SENTENCES)]
            body = json.dumps({"q": text, **EN_DE})
            connection.request("POST", "/translate", body, {"content-type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
            counts[index] += 1
            if response.status != 200 or answer["translatedText"] != expected[text]:
                wrong.append((response.status, answer))
        connection.close()

    for thread in in_threads(CLIENTS, ask):
        thread.join()
    assert wrong == []
    assert min(counts) > 0
    texts = server.metric("edgekit_batch_texts_sum") - texts_before
    assert texts == sum(counts)
    assert texts / (server.metric("edgekit_batch_texts_count") - batches_before) > 2
    assert server.metric("edgekit_requests_in_progress") == 0


def test_sigterm_waits_for_what_was_accepted(start_gated):
    server, open_gate = start_gated()
    answers, streams = [], []

    def ask(index):
        answers.append(server.post("/translate", {"q": f"text {index}", **EN_DE}))

    def stream(index):
        fields = {"model": "tiny-fp32", "prompt": "The", "max_tokens": 30, "stream": True}
        streams.append(server.post("/v1/completions", fields)[1])

    threads = in_threads(8, ask) + in_threads(2, stream)
    server.wait_for_metric("edgekit_requests_in_progress", 10)
    server.terminate()
    server.wait_for_log("ending")
    open_gate()
    for thread in threads:
        thread.join()
    assert sorted(answer["translatedText"] for status, answer in answers if status == 200) == [
        f"TEXT {index}" for index in range(8)
    ]
    assert [data.endswith(b"data: [DONE]\n\n") for data in streams] == [True, True]
    assert server.wait() == (0, b"")
    assert server.log[-1]["event"] == "ended"


def test_sigterm_under_load_answers_every_request_that_it_took(embedded_int8):
    answered, cut = [], []
    with ServerProcess("edgekit", "serve", embedded_int8, "--port", "0") as server:

        def ask(index):
            connection = server.connect()
            while True:
                try:
                    body = json.dumps({"q": SENTENCES[index % len(SENTENCES)], **EN_DE})
                    connection.request("POST", "/translate", body, {"content-type": "application/json"})
                    response = connection.getresponse()
                except (ConnectionError, http.client.RemoteDisconnected):
                    return  # not taken: there is no byte of an answer
                try:
                    answer = json.loads(response.read())
                    answered.append((response.status, "translatedText" in answer))
                except (ConnectionError, http.client.HTTPException, ValueError) as error:
                    cut.append(error)
                    return

        threads = in_threads(16, ask)
        while len(answered) < 50:
            time.sleep(0.01)
        server.terminate()
        for thread in threads:
            thread.join()
        assert server.wait() == (0, b"")
    assert cut == []
    assert set(answered) == {(200, True)}
    taken = [line for line in server.log if line.get("path") == "/translate"]
    assert len(taken) == len(answered)
