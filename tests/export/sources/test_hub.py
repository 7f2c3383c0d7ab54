"""The hub, against a stand-in on 127.0.0.1. huggingface_hub reads its settings once: each fetch has its own process."""

import hashlib
import json
import os
import subprocess
import sys
import time

import pytest

SHA = "0123456789abcdef0123456789abcdef01234567"
CONFIG = json.dumps({"model_type": "marian"}).encode()
CARD = b"---\nlanguage:\n- en\nlicense: apache-2.0\n---\n# A card\n"
FILES = {
    "config.json": CONFIG,
    "source.spm": b"source",
    "target.spm": b"target",
    "vocab.json": b"{}",
    "tokenizer_config.json": b'{"source_lang": "en", "target_lang": "de"}',
    "model.safetensors": b"weights" * 50,
    "pytorch_model.bin": b"pickle",
    "tf_model.h5": b"other",
    "modeling_evil.py": b"raise SystemExit('ran')",
    "README.md": CARD,
}

SCRIPT = """
import json, sys
from edgekit.errors import EdgekitError
from edgekit.export.sources import hub, local_directory
from edgekit.export.sources.hub import fetch_repository, is_cached
hub.DEADLINE_SECONDS = float(sys.argv[2])
local_directory.has_optimum = lambda: False  # it would load torch to say that it knows no bert either
notes = []
try:
    found = fetch_repository("org/opus-mt-en-de", json.loads(sys.argv[1]), "opus-mt-en-de", "CC-BY-4.0", notes.append)
except EdgekitError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
else:
    print(json.dumps({
        "kind": found.kind, "license": found.license, "languages": found.languages, "source": found.source,
        "files": {role: str(path) for role, path in found.files.items()}, "notes": notes,
        "documents": [path.name for path in found.documents], "cached": is_cached("org/opus-mt-en-de"),
    }))
"""


@pytest.fixture
def publish(server):
    """Serves a repository as the hub does."""

    def serve(files=FILES, sha=SHA, sizes=None):
        stated = {name: len(content) for name, content in files.items()} | (sizes or {})
        siblings = [{"rfilename": name, "size": size} for name, size in stated.items()]
        info = json.dumps({"_id": "1", "id": "org/opus-mt-en-de", "modelId": "org/opus-mt-en-de", "sha": sha,
                           "private": False, "disabled": False, "gated": False, "downloads": 0, "likes": 0,
                           "tags": [], "siblings": siblings}).encode()  # fmt: skip
        tree = [{"type": "file", "oid": "0" * 40, "path": name, "size": len(c)} for name, c in files.items()]
        json_type = {"Content-Type": "application/json"}
        for path in ("", "/revision/main", f"/revision/{sha}"):
            server.serve(f"/api/models/org/opus-mt-en-de{path}", info, headers=json_type)
        server.serve(f"/api/models/org/opus-mt-en-de/tree/{sha}", json.dumps(tree).encode(), headers=json_type)
        for name, content in files.items():
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            server.serve(f"/org/opus-mt-en-de/resolve/{sha}/{name}", content, etag=etag, headers={"X-Repo-Commit": sha})

    return serve


@pytest.fixture
def fetch(server, tmp_path, edgekit_cache):
    def run(revision=None, deadline_seconds=10, **environment):
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_XET": "1", **environment}
        command = [sys.executable, "-c", SCRIPT, json.dumps(revision), str(deadline_seconds)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) | {"stderr": done.stderr}

    return run


def fetched_names(server):
    return {path.rpartition("/")[2] for method, path, _ in server.requests if method == "GET" and "/resolve/" in path}


def test_a_repository_is_fetched_without_code_or_second_weights_and_its_commit_recorded(publish, fetch, server):
    publish()
    found = fetch()
    assert found["kind"] == "marian"
    assert found["license"] == "apache-2.0"  # the card's word goes before the recipe's
    assert found["languages"] == {"source": "en", "target": "de"}
    assert (found["source"]["type"], found["source"]["id"]) == ("hub", "org/opus-mt-en-de")
    assert found["source"]["revision"] == SHA
    assert found["source"]["files"]["model.safetensors"] == hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    assert found["files"]["weights"].endswith("model.safetensors")
    assert found["documents"] == ["README.md"]
    assert found["cached"] is True
    assert fetched_names(server) == set(FILES) - {"pytorch_model.bin", "tf_model.h5", "modeling_evil.py"}
    assert found["stderr"] == ""  # no progress bar off a terminal


def test_pytorch_weights_are_taken_where_there_are_no_others(publish, fetch):
    publish({name: content for name, content in FILES.items() if name != "model.safetensors"})
    assert fetch()["files"]["weights"].endswith("pytorch_model.bin")


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
CAUSAL_LM = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "generation_config.json": b"{ }",
    "model.safetensors.index.json": json.dumps({"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}).encode(),
    SHARDS[0]: b"a" * 500,
    SHARDS[1]: b"b" * 500,
    "original/model-00001-of-00002.safetensors": b"other",
    "pytorch_model.bin": b"pickle",
    "model.Q4_0.gguf": b"GGUF",
    "README.md": CARD,
}


def test_a_decoder_only_repository_is_fetched_shard_by_shard(publish, fetch, server):
    publish(CAUSAL_LM)
    found = fetch()
    assert (found["kind"], found["license"]) == ("causal-lm", "apache-2.0")
    assert found["languages"] == {"source": None, "target": None}
    assert found["files"]["weights"].endswith("model.safetensors.index.json")
    assert [found["files"][f"shard_{i}"].rpartition("/")[2] for i in (1, 2)] == list(SHARDS)
    assert found["source"]["files"][SHARDS[1]] == hashlib.sha256(CAUSAL_LM[SHARDS[1]]).hexdigest()
    assert fetched_names(server) == set(CAUSAL_LM) - {
        "original/model-00001-of-00002.safetensors",
        "pytorch_model.bin",
        "model.Q4_0.gguf",
    }
    assert fetch(HF_HUB_OFFLINE="1")["source"] == found["source"]


def test_a_shard_that_did_not_arrive_leaves_no_snapshot(publish, fetch, server):
    publish(CAUSAL_LM)
    server.files[f"/org/opus-mt-en-de/resolve/{SHA}/{SHARDS[1]}"].status = 403
    assert "fetching org/opus-mt-en-de from the hub failed (" in fetch()["message"]
    assert fetch(HF_HUB_OFFLINE="1")["error"] == "UnavailableSourceError"


def test_a_repository_whose_files_ask_for_consent_says_so(publish, fetch, server):
    """The hub describes a gated repository to everybody and keeps its files back."""
    publish(CAUSAL_LM)
    for name in CAUSAL_LM:
        served = server.files[f"/org/opus-mt-en-de/resolve/{SHA}/{name}"]
        served.status, served.headers = 401, {"X-Error-Code": "GatedRepo"}
    found = fetch()
    assert found["error"] == "UnavailableSourceError"
    assert found["message"] == "org/opus-mt-en-de asks for consent on its page; give it and set HF_TOKEN"


def test_a_repository_of_one_gguf_file_is_that_checkpoint(publish, fetch, server):
    publish({"README.md": CARD, "tiny.gguf": b"GGUF" * 10, "imatrix.dat": b"x"})
    found = fetch()
    assert (found["kind"], found["files"]["weights"].endswith("tiny.gguf")) == ("gguf", True)
    assert fetched_names(server) == {"README.md", "tiny.gguf"}
    assert fetch(HF_HUB_OFFLINE="1")["source"] == found["source"]


def test_a_repository_of_several_gguf_files_is_fetched_by_hand(publish, fetch, server):
    publish({"README.md": CARD, "tiny.Q4_0.gguf": b"GGUF", "tiny.Q8_0.gguf": b"GGUF"})
    found = fetch()
    assert found["error"] == "SourceError"
    assert "has several GGUF files (tiny.Q4_0.gguf, tiny.Q8_0.gguf); download one and give its path" in found["message"]
    assert fetched_names(server) == set()


def test_a_repository_too_large_for_its_purpose_is_refused(publish, fetch, server):
    publish(CAUSAL_LM, sizes={SHARDS[0]: 40 * 2**30, "model.Q4_0.gguf": 2**50})
    found = fetch()
    assert found["error"] == "SourceError"
    assert "bytes of model files, more than the 34,359,738,368 expected" in found["message"]
    assert fetched_names(server) == set()


def test_a_second_fetch_downloads_nothing(publish, fetch, server):
    publish()
    fetch()
    server.requests.clear()
    fetch()
    assert fetched_names(server) == set()


@pytest.mark.parametrize("offline", [True, False], ids=["HF_HUB_OFFLINE", "unreachable"])
def test_a_cached_snapshot_serves_without_the_hub_and_says_so(publish, fetch, closed_url, offline):
    publish()
    online = fetch()
    found = fetch(HF_HUB_OFFLINE="1") if offline else fetch(HF_ENDPOINT=closed_url)
    reason = "HF_HUB_OFFLINE is set" if offline else "[Errno 111] Connection refused"
    assert found["source"] == online["source"]
    assert len(found["notes"]) == 1
    assert found["notes"][0].startswith("the Hugging Face hub can't be reached (")
    assert reason.removeprefix("[Errno 111] ") in found["notes"][0]
    assert found["notes"][0].endswith("; using the snapshot 0123456789ab from the hub's cache")


def test_an_unreachable_hub_without_a_snapshot_is_unavailable_within_ten_seconds(fetch, closed_url):
    start = time.monotonic()
    found = fetch(HF_ENDPOINT=closed_url)
    assert found["error"] == "UnavailableSourceError"
    assert "the Hugging Face hub can't be reached (" in found["message"]
    assert "\n" not in found["message"]
    assert time.monotonic() - start < 10


def test_a_hub_that_drips_for_ever_is_given_up_at_the_deadline(fetch, server):
    server.serve("/api/models/org/opus-mt-en-de", drip=True, declare_length=False)
    found = fetch(deadline_seconds=1)
    assert found["error"] == "UnavailableSourceError"
    assert "can't be reached (no answer within 1 s)" in found["message"]


def test_a_cut_download_is_unavailable_and_its_rest_is_no_snapshot(publish, fetch, server):
    publish()
    server.files[f"/org/opus-mt-en-de/resolve/{SHA}/model.safetensors"].status = 403
    found = fetch()
    assert found["error"] == "UnavailableSourceError"
    assert "fetching org/opus-mt-en-de from the hub failed (" in found["message"]
    assert found["message"].endswith("; run again to go on from there")
    assert fetch(HF_HUB_OFFLINE="1")["error"] == "UnavailableSourceError"


@pytest.mark.parametrize(
    ("code", "status", "revision", "message"),
    [
        ("RepoNotFound", 404, None, "the hub has no repository org/opus-mt-en-de, or it is private; check the name"),
        ("RevisionNotFound", 404, "v9", "org/opus-mt-en-de has no revision 'v9' on the hub"),
        ("GatedRepo", 403, None, "org/opus-mt-en-de asks for consent on its page; give it and set HF_TOKEN"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(fetch, server, code, status, revision, message):
    path = "/api/models/org/opus-mt-en-de" + (f"/revision/{revision}" if revision else "")
    server.serve(path, b"{}", status=status, headers={"X-Error-Code": code})
    found = fetch(revision)
    assert (found["error"], message in found["message"]) == ("UnavailableSourceError", True), found


def test_a_portals_page_in_place_of_the_hub_counts_as_unreachable(fetch, server):
    server.serve("/api/models/org/opus-mt-en-de", b"<html>log in</html>")
    found = fetch()
    assert (found["error"], "can't be reached" in found["message"]) == ("UnavailableSourceError", True), found


def test_a_repository_without_marian_files_is_an_error_that_names_them(publish, fetch):
    publish({"config.json": CONFIG, "model.safetensors": b"w"})
    found = fetch()
    assert found["error"] == "SourceError"
    assert found["message"].endswith("lacks source.spm, target.spm, vocab.json, which a MarianMT checkpoint needs")


def test_a_repository_of_another_type_is_unsupported_before_its_weights_are_fetched(publish, fetch, server):
    publish({**FILES, "config.json": b'{"model_type": "bert"}'})
    found = fetch()
    assert (found["error"], "config.json has model_type 'bert'; edgekit exports" in found["message"]) == (
        "UnsupportedError",
        True,
    )
    assert "model.safetensors" not in fetched_names(server)
