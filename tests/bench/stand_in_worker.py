"""Speaks the worker's protocol without a model: ``python stand_in_worker.py BEHAVIOUR.json THREADS``.

The behaviour's keys: ``on`` (what to do at "loading" or at a request: exit, kill, hang, garbage, error, short),
``loads`` (load times, one a start), ``latency_ms`` (one a text), ``seconds`` (one a batched request), ``peak`` (bytes),
``reply`` ("source", or a mapping of texts; others are upper-cased), ``first_seconds`` and ``following_seconds`` (by a
prompt's length, a list with one figure a request), ``log`` (a file that gets a line a request, with how many texts or
ids it has, and the first id), ``answers`` (to a prompt that holds this text, this answer; else as ``reply``),
``refuse`` (a text, such prompts are refused), ``first_ms`` (of an answer), ``cpu_seconds`` (of an answer or in bulk).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

path = Path(sys.argv[1])
behaviour = json.loads(path.read_text())
log = Path(behaviour["log"]) if "log" in behaviour else None
starts = path.with_suffix(".starts")
started = len(starts.read_text()) if starts.exists() else 0
starts.write_text("." * (started + 1))
rounds = 0
generated = {}


def misbehave(moment):
    action = behaviour.get("on", {}).get(moment)
    if action == "exit":
        print("some chatter\nRuntimeError: the weights are on fire\n", file=sys.stderr)
        sys.exit(3)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "hang":
        print("thinking", file=sys.stderr, flush=True)
        time.sleep(60)
    if action == "garbage":
        print("Loading... 100%", flush=True)
    if action == "error":
        print(json.dumps({"error": "bundle.json: expected schema version 1"}), flush=True)
        sys.exit(1)


def translate(text):
    reply = behaviour.get("reply", {})
    return text if reply == "source" else reply.get(text, text.upper())


def read(asked):
    return asked if isinstance(asked, str) else "".join(f"<{turn['role']}>{turn['content']}" for turn in asked)


def is_refused(asked):
    return behaviour.get("refuse", "\0") in read(asked)


def answer_to(asked):
    # What it is asked comes behind the examples.
    places = {read(asked).rfind(text): answer for text, answer in behaviour.get("answers", {}).items()}
    return (
        places[max(places)]
        if places and max(places) >= 0
        else translate(asked if isinstance(asked, str) else asked[-1]["content"])
    )


misbehave("loading")
load_ms = behaviour.get("loads", [10.0])
print(json.dumps({"import_ms": 100.0, "load_ms": load_ms[started % len(load_ms)]}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    misbehave(request["do"])
    if log:
        with log.open("a") as file:
            ids = request.get("ids", ())
            first = f" {ids[0]}" if ids else ""
            count = len(request.get("texts", request.get("asked", ids)))
            file.write(f"{path.stem} {request['do']} {count}{first}\n")
    answer = {}
    if request["do"] == "translate_each":
        latency_ms = behaviour.get("latency_ms", [5.0])
        answer["latency_ms"] = [latency_ms[index % len(latency_ms)] for index in range(len(request["texts"]))]
    elif request["do"] == "translate_batched":
        answer["translations"] = [translate(text) for text in request["texts"]]
        if behaviour.get("on", {}).get("translate_batched") == "short":
            answer["translations"].pop()
        seconds = behaviour.get("seconds", [1.0])
        answer["seconds"] = seconds[rounds % len(seconds)]
        rounds += 1
    elif request["do"] == "answer_each":
        latency_ms = behaviour.get("latency_ms", [5.0])
        answer["answers"] = []
        for index, asked in enumerate(request["asked"]):
            ms = latency_ms[index % len(latency_ms)]
            timed = {"text": answer_to(asked), "ms": ms, "first_ms": behaviour.get("first_ms", ms)}
            timed["cpu_seconds"] = behaviour.get("cpu_seconds", 0.01)
            answer["answers"].append({"refused": "too long"} if is_refused(asked) else timed)
    elif request["do"] == "answer_bulk":
        answer["texts"] = [None if is_refused(asked) else answer_to(asked) for asked in request["asked"]]
        if behaviour.get("on", {}).get("answer_bulk") == "short":
            answer["texts"].pop()
        seconds = behaviour.get("seconds", [1.0])
        answer["seconds"] = seconds[rounds % len(seconds)]
        answer["cpu_seconds"] = behaviour.get("cpu_seconds", 0.01)
        rounds += 1
    elif request["do"] == "shared_prefix":
        answer["bytes"] = 4096
    elif request["do"] == "encode":
        answer["ids"] = list(range(1000))
    elif request["do"] == "generate":
        length = str(len(request["ids"])) + ("" if request["new_tokens"] == 1 else "+")
        length += "lookup" if request["prompt_lookup"] else ""
        generated[length] = generated.get(length, -1) + 1
        for name in ("first_seconds", "following_seconds"):
            figures = behaviour.get(name, {}).get(length, [1.0])
            answer[name] = figures[generated[length] % len(figures)]
    elif request["do"] == "peak_memory":
        answer["peak_rss_bytes"] = behaviour.get("peak", 50_000_000)
        answer["mapped_bytes"] = 10_000_000
    print(json.dumps(answer), flush=True)
    if request["do"] == "quit":
        break
