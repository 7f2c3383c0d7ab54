"""Firefox's registry: which model is chosen, that its files are checked, and what serves without a network."""

import gzip
import hashlib
import json

import pytest

from edgekit.errors import SourceError
from edgekit.export.sources import firefox_registry
from edgekit.export.sources.checkpoint import UnavailableSourceError
from edgekit.export.sources.firefox_registry import RegistryEntry, RegistryFile, choose_entry, fetch_pair, is_cached

WEIGHTS, LEXICON, VOCAB = b"weights" * 100, b"lexicon" * 10, b"vocabulary" * 10


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def listed(path, content, *, checked=True):
    """A file as the registry describes it."""
    checks = {"uncompressedHash": sha256(content), "uncompressedSize": len(content)} if checked else {}
    return {"path": path, **checks}


def listed_model(architecture="base-memory", status="Release", **files):
    run = f"models/en-fr/{architecture}-run/exported"
    return {
        "architecture": architecture,
        "releaseStatus": status,
        "sourceLanguage": "en",
        "targetLanguage": "fr",
        "files": {
            "model": listed(f"{run}/model.enfr.intgemm.alphas.bin.gz", WEIGHTS),
            "lexicalShortlist": listed(f"{run}/lex.50.50.enfr.s2t.bin.gz", LEXICON, checked=False),
            "vocab": listed(f"{run}/vocab.enfr.spm.gz", VOCAB),
            **files,
        },
    }


@pytest.fixture
def registry(server, monkeypatch):
    """Publishes models of en-fr; the same contents under every path that they name."""
    contents = {
        "model": WEIGHTS,
        "lexicalShortlist": LEXICON,
        "vocab": VOCAB,
        "srcVocab": b"s" * 9,
        "trgVocab": b"t" * 9,
    }

    def publish(*models, pack=gzip.compress, document=None):
        known = {"generated": "now", "baseUrl": server.url + "/bucket/", "models": {"en-fr": list(models), "en-de": []}}
        server.serve("/db/models.json", json.dumps(known if document is None else document).encode())
        for model in models:
            for key, file in model["files"].items():
                server.serve(f"/bucket/{file['path']}", pack(contents.get(key, b"unused")))

    monkeypatch.setattr(firefox_registry, "REGISTRY_URL", server.url + "/db/models.json")
    return publish


@pytest.fixture
def notes():
    return []


@pytest.fixture
def fetch(notes):
    return lambda: fetch_pair("en-fr", "firefox-en-fr", "MPL-2.0", notes.append)


def test_a_pair_is_fetched_unpacked_checked_and_recorded(registry, fetch, notes, server):
    registry(listed_model("tiny"), listed_model(), listed_model("base"))
    checkpoint = fetch()
    assert checkpoint.name == "firefox-en-fr"
    assert checkpoint.kind == "bergamot"
    assert checkpoint.languages == {"source": "en", "target": "fr"}
    assert checkpoint.license == "MPL-2.0"
    assert checkpoint.files["weights"].read_bytes() == WEIGHTS
    assert checkpoint.files["shortlist"].read_bytes() == LEXICON
    assert checkpoint.files["source_spm"] == checkpoint.files["target_spm"]
    assert checkpoint.files["source_spm"].read_bytes() == VOCAB
    assert checkpoint.source == {
        "type": "registry",
        "id": "en-fr",
        "revision": "models/en-fr/base-memory-run/exported",
        "license": "MPL-2.0",
        "files": {
            "model.enfr.intgemm.alphas.bin": sha256(WEIGHTS),
            "lex.50.50.enfr.s2t.bin": sha256(LEXICON),
            "vocab.enfr.spm": sha256(VOCAB),
        },
    }
    assert notes == []
    assert not any("tiny" in path for _, path, _ in server.requests)


def test_separate_vocabularies_keep_their_sides(registry, fetch):
    run = "models/en-fr/run"
    model = listed_model()
    del model["files"]["vocab"]
    model["files"]["srcVocab"] = listed(f"{run}/srcvocab.enfr.spm.gz", b"s" * 9)
    model["files"]["trgVocab"] = listed(f"{run}/trgvocab.enfr.spm.gz", b"t" * 9)
    registry(model)
    files = fetch().files
    assert (files["source_spm"].read_bytes(), files["target_spm"].read_bytes()) == (b"s" * 9, b"t" * 9)


def test_a_second_fetch_asks_for_the_registry_only(registry, fetch, server):
    registry(listed_model())
    first = fetch()
    server.requests.clear()
    assert fetch() == first
    assert [path for _, path, _ in server.requests] == ["/db/models.json"]


def test_a_new_model_in_the_registry_replaces_the_cached_one(registry, fetch):
    registry(listed_model("tiny"))
    fetch()
    registry(listed_model("tiny"), listed_model())
    assert fetch().source["revision"] == "models/en-fr/base-memory-run/exported"


def test_files_that_a_mirror_unpacked_on_the_way_are_taken_too(registry, fetch):
    registry(listed_model(), pack=bytes)
    assert fetch().files["weights"].read_bytes() == WEIGHTS


def test_without_a_network_the_cache_serves_and_says_so(registry, fetch, notes, closed_url, monkeypatch):
    registry(listed_model())
    online = fetch()
    monkeypatch.setattr(firefox_registry, "REGISTRY_URL", closed_url + "/db/models.json")
    assert is_cached("en-fr")
    assert fetch() == online
    assert len(notes) == 1
    assert (
        "can't be reached (Connection refused); using the base-memory model of en-fr from edgekit's cache" in notes[0]
    )


def test_a_damaged_cache_does_not_serve_and_is_fetched_again(registry, fetch, closed_url, monkeypatch):
    registry(listed_model())
    weights = fetch().files["weights"]
    weights.write_bytes(b"x" * len(WEIGHTS))
    assert not is_cached("en-fr")
    with monkeypatch.context() as offline:
        offline.setattr(firefox_registry, "REGISTRY_URL", closed_url + "/db/models.json")
        with pytest.raises(UnavailableSourceError, match="can't be reached"):
            fetch()
    assert fetch().files["weights"].read_bytes() == WEIGHTS


def test_a_wrong_hash_is_an_error_and_nothing_is_kept(registry, fetch, cache):
    registry(listed_model(model={"path": "models/m.bin.gz", "uncompressedHash": "0" * 64, "uncompressedSize": None}))
    with pytest.raises(
        SourceError, match=r"unpacks to 700 bytes with the SHA-256 \w{64}, expected None and 0000"
    ) as found:
        fetch()
    assert not isinstance(found.value, UnavailableSourceError)
    assert not (cache / "sources" / "registry" / "en-fr" / "m.bin").exists()


def test_a_file_that_unpacks_beyond_its_size_is_stopped(registry, fetch):
    registry(listed_model(model={"path": "models/m.bin.gz", "uncompressedSize": 699}))
    with pytest.raises(SourceError, match="unpacks to more than 699 bytes"):
        fetch()


def test_a_pair_that_is_not_listed_names_those_that_share_a_language(registry):
    registry(listed_model())
    with pytest.raises(UnavailableSourceError, match="registry has no model for de-fr; it has en-de, en-fr"):
        fetch_pair("de-fr", "firefox-de-fr", None, print)
    with pytest.raises(UnavailableSourceError, match="no model for en-xx; it has 2 others, each with en on one side"):
        fetch_pair("en-xx", "firefox-en-xx", None, print)


def test_a_model_not_released_for_desktop_is_used_with_a_word(registry, fetch, notes):
    registry(listed_model("tiny", "Nightly"))
    fetch()
    assert notes == ["the registry has no en-fr model of status 'Release'; using a 'Nightly' one"]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"baseUrl": "x", "models": []},
        {"baseUrl": "x", "models": {"en-fr": [{}]}},
        {"baseUrl": "x", "models": {"en-fr": [listed_model(model=None)]}},
        {"baseUrl": "x", "models": {"en-fr": [listed_model(model={"path": 7})]}},
        {"baseUrl": "x", "models": {"en-fr": [listed_model(model=listed("a/..", b""))]}},
        {"baseUrl": "x", "models": {"en-fr": [listed_model(model=listed("a/.hidden.gz", b""))]}},
        {"baseUrl": "x", "models": {"en-fr": [listed_model(model=listed("a/b\\c.bin", b""))]}},
        {"baseUrl": "x", "models": {"en-fr": [listed_model(model={"path": "m", "uncompressedHash": "../x"})]}},
    ],
)
def test_a_registry_of_another_form_is_refused(registry, fetch, document):
    registry(document=document)
    with pytest.raises(SourceError, match="is not the registry that edgekit knows"):
        fetch()


def test_a_registry_that_is_not_json_is_refused(registry, fetch, server):
    registry()
    server.serve("/db/models.json", b"<html>log in first</html>")
    with pytest.raises(SourceError, match="is not the registry that edgekit knows"):
        fetch()


def test_a_base_address_of_another_scheme_is_refused(registry, fetch):
    registry(document={"baseUrl": "file:///etc", "models": {"en-fr": [listed_model()]}})
    with pytest.raises(SourceError, match="names the base address 'file:///etc', expected one of http:"):
        fetch()


def entry(architecture, status):
    return RegistryEntry(architecture, status, "en", "fr", {"weights": RegistryFile("m", None, None)})


@pytest.mark.parametrize(
    ("entries", "chosen"),
    [
        ([("tiny", "Release"), ("base-memory", "Release")], ("base-memory", "Release")),
        ([("base", "Release"), ("tiny", "Release")], ("tiny", "Release")),
        ([("base-memory", "Nightly"), ("tiny", "Release")], ("tiny", "Release")),
        ([("tiny", "Release Android"), ("base-memory", "Nightly")], ("tiny", "Release Android")),
        ([("huge", "Release"), ("base", "Release")], ("base", "Release")),
        ([("huge", "None")], ("huge", "None")),
    ],
)
def test_release_goes_before_architecture_and_base_memory_before_tiny_and_base(entries, chosen):
    found = choose_entry([entry(*words) for words in entries])
    assert (found.architecture, found.status) == chosen
