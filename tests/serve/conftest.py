"""Servers: one with real models, one whose models wait for the test, one with little patience."""

import json

import pytest

from tests.graph.causal_lm_checkpoints import make_llama
from tests.runtime.causal_lm_bundles import CONTEXT, byte_level, sized, write_text_bundle
from tests.serve.server_process import ServerProcess


@pytest.fixture(scope="session")
def text_bundle(tmp_path_factory):
    """A random llama whose texts never end by themselves: ``tiny-fp32``."""
    case = sized(make_llama(vocab_size=320, max_position_embeddings=CONTEXT), 320)
    return write_text_bundle(tmp_path_factory.mktemp("serve") / "tiny-fp32", case, byte_level(), eos_token_ids=())


@pytest.fixture(scope="session")
def server(embedded_int8, embedded_fp32, text_bundle):
    """`edgekit serve` with two models of a pair and a language model."""
    args = ("--port", "0", "--workers", "2", "--max-characters", "5000", "--max-new-tokens", "64")
    with ServerProcess("edgekit", "serve", embedded_int8, embedded_fp32, text_bundle, *args) as found:
        yield found


@pytest.fixture
def start_gated(text_bundle, tmp_path):
    """Starts a server whose translations wait for its gate, with these limits: the server, and what opens the gate."""
    servers = []

    def start(**limits):
        gate = tmp_path / f"gate-{len(servers)}"
        servers.append(ServerProcess("tests.serve.gated_server", text_bundle, gate, json.dumps(limits)))
        return servers[-1], gate.touch

    yield start
    for found in servers:
        found.__exit__()
