"""A server in a process of its own, its log, and requests to it byte by byte where that matters."""

import http.client
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds for what takes milliseconds on an idle machine


class ServerProcess:
    """``python -m MODULE ARGS``, which logs as `edgekit serve` does."""

    def __init__(self, module, *args, env=None):
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(os.fspath, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | (env or {}),
        )
        self.log, self._lines = [], queue.Queue()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self.url = self.wait_for_log("listening")["url"]
        self.host, self.port = urlsplit(self.url).hostname, urlsplit(self.url).port

    def _read_log(self):
        for line in self.process.stderr:
            self._lines.put(line.decode())
        self._lines.put(None)

    def wait_for_log(self, event):
        """The first line of that event that was not waited for yet."""
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            assert line.startswith("{"), line
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == event:
                return self.log[-1]
        raise AssertionError(f"the server ended without {event}: {self.log}")

    def connect(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)

    def request(self, method, path, body=None, headers=None):
        """A request of its own connection: status, headers, body (JSON parsed); a dict is sent as JSON."""
        connection = self.connect()
        try:
            if isinstance(body, dict | list):
                body, headers = json.dumps(body), {"content-type": "application/json"} | (headers or {})
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            data = response.read()
            kind = response.headers.get_content_type()
            return response.status, response.headers, json.loads(data) if kind == "application/json" else data
        finally:
            connection.close()

    def post(self, path, body, **headers):
        status, _, answer = self.request("POST", path, body, headers)
        return status, answer

    def get(self, path):
        status, _, answer = self.request("GET", path)
        return status, answer

    def raw(self, data):
        """A connection over which these bytes were sent."""
        connection = socket.create_connection((self.host, self.port), timeout=PATIENCE)
        connection.sendall(data)
        return connection

    def metric(self, name):
        text = self.get("/metrics")[1].decode()
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))

    def wait_for_metric(self, name, value):
        until = time.monotonic() + PATIENCE
        while (found := self.metric(name)) != value:
            assert time.monotonic() < until, f"{name} is {found}, not {value}"
            time.sleep(0.02)

    def wait_until_it_drops(self, port):
        """Waits until the server holds no connection to that port of ours any more."""
        process, until = psutil.Process(self.process.pid), time.monotonic() + PATIENCE
        while any(found.raddr and found.raddr.port == port for found in process.net_connections("tcp")):
            assert time.monotonic() < until, "the server still holds the connection"
            time.sleep(0.05)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        """The exit status and all of stdout; the log is whole then."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.log.append(json.loads(line))
        return status, self.process.stdout.read()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def read_all(connection):
    """What a server sends until it closes the connection."""
    data = b""
    with connection:
        try:
            while chunk := connection.recv(65536):
                data += chunk
        except ConnectionResetError:
            pass
    return data
