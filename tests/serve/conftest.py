"""Servers: one with real models, one whose models wait for the test, one with little patience."""

import json

import pytest

from tests.serve.server_process import ServerProcess


@pytest.fixture(scope="session")
def server(embedded_int8, embedded_fp32, endless_llama):
    """`edgekit serve` with two models of a pair and a language model."""
    args = ("--port", "0", "--workers", "2", "--max-characters", "5000", "--max-new-tokens", "64")
    with ServerProcess("edgekit", "serve", embedded_int8, embedded_fp32, endless_llama, *args) as found:
        yield found


@pytest.fixture
def start_gated(endless_llama, tmp_path):
    """Starts a server whose translations wait for its gate, with these limits: the server, and what opens the gate."""
    servers = []

    def start(**limits):
        gate = tmp_path / f"gate-{len(servers)}"
        servers.append(ServerProcess("tests.serve.gated_server", endless_llama, gate, json.dumps(limits)))
        return servers[-1], gate.touch

    yield start
    for found in servers:
        found.__exit__()
