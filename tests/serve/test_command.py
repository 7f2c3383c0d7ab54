"""`edgekit serve` before it serves: options, keys, bundles and addresses that can't be used."""

import re
import shutil
import socket
from types import SimpleNamespace

import pytest

from edgekit.errors import InputError
from edgekit.serve.api_keys import ApiKeys
from edgekit.serve.models import Models, ServedGenerator
from edgekit.serve.server import bind, url
from tests.cli.command import assert_fails, edgekit_here


def test_what_cannot_be_served_is_one_line(tmp_path, endless_llama, monkeypatch):
    assert_fails(edgekit_here("serve"), 2, "Missing argument 'MODEL...'")
    empty = tmp_path / "keys"
    empty.write_text("# none\n\n")
    assert_fails(edgekit_here("serve", endless_llama, "--api-keys", empty), 1, "expected API keys, one a line")
    missing = tmp_path / "missing"
    assert_fails(edgekit_here("serve", endless_llama, "--api-keys", missing), 1, "the API keys cannot be read")
    monkeypatch.setenv("EDGEKIT_API_KEYS", " , ")
    assert_fails(edgekit_here("serve", endless_llama), 1, "EDGEKIT_API_KEYS is set but has no key")


def test_a_port_that_is_taken_is_one_line(endless_llama):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_fails(
            edgekit_here("serve", endless_llama, "--port", str(port)), 1, f"can't listen on 127.0.0.1, port {port}"
        )
    with pytest.raises(InputError, match=r"can't listen on no\.such\.host\.invalid, port 1: "):
        bind("no.such.host.invalid", 1)


def test_a_bound_socket_has_a_url():
    with bind("127.0.0.1", 0) as bound:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url(bound))


def test_a_bundle_given_twice_is_served_once_and_says_so(endless_llama, monkeypatch):
    monkeypatch.chdir(endless_llama.parent)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = edgekit_here("serve", endless_llama, "tiny-fp32", "--port", str(taken.getsockname()[1]))
    said, refused = done.stderr.splitlines()
    assert said == "tiny-fp32 is given twice; it is served once"
    assert refused.startswith("edgekit: can't listen on 127.0.0.1")


def test_two_bundles_of_one_name_are_refused(endless_llama, tmp_path):
    copied = shutil.copytree(endless_llama, tmp_path / "other")
    done = edgekit_here("serve", endless_llama, copied)
    assert_fails(done, 1, "two bundles are both called tiny-fp32; serve one of them")


def test_two_models_of_one_name_are_refused():
    model = ServedGenerator("same", "fp32", SimpleNamespace(), None)
    with pytest.raises(InputError, match="two bundles are both called same; serve one of them"):
        Models([model, model])
    with pytest.raises(InputError, match="a server needs at least one bundle, found none"):
        Models([])


def test_only_whole_keys_are_allowed():
    keys = ApiKeys(["alpha", "schlüssel"])
    assert [keys.allows(key) for key in ("alpha", "schlüssel", "alph", "alpha ", "", None, "\ud800")] == [
        True,
        True,
        False,
        False,
        False,
        False,
        False,
    ]
    assert ApiKeys().allows(None)
