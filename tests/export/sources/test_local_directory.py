"""Local directories: what they declare decides, and what is doubtful is refused in one line."""

import gzip
import hashlib
import json
import struct

import pytest

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.local_directory import read_directory

MARIAN_BINARY = struct.pack("<QQ", 1, 0)
SHORTLIST = struct.pack("<QQ", 0xF11A48D5013417F5, 0)
MARIAN = {
    "config.json": b'{"model_type": "marian"}',
    "source.spm": b"source",
    "target.spm": b"target",
    "vocab.json": b"{}",
    "model.safetensors": b"weights",
}
BERGAMOT = {
    "model.enpt.intgemm.alphas.bin": MARIAN_BINARY,
    "vocab.enpt.spm": b"vocabulary",
    "lex.50.50.enpt.s2t.bin": SHORTLIST,
}


@pytest.fixture
def read(tmp_path):
    def write_and_read(files):
        directory = tmp_path / "firefox-model"
        directory.mkdir()
        for name, content in files.items():
            (directory / name).write_bytes(content)
        return read_directory(directory, "a-name")

    return write_and_read


def names(checkpoint):
    return {role: path.name for role, path in checkpoint.files.items()}


def test_a_marian_directory_gives_its_files_by_role(read):
    extra = {
        "generation_config.json": b"{}",
        "tokenizer_config.json": b'{"source_lang": "en", "target_lang": "de"}',
        "target_vocab.json": b"{}",
        "LICENSE": b"the licence",
        "tf_model.h5": b"x",
    }
    checkpoint = read({**MARIAN, **extra})
    assert (checkpoint.name, checkpoint.kind) == ("a-name", "marian")
    assert names(checkpoint) == {
        "config": "config.json",
        "weights": "model.safetensors",
        "source_spm": "source.spm",
        "target_spm": "target.spm",
        "vocab": "vocab.json",
        "target_vocab": "target_vocab.json",
        "generation_config": "generation_config.json",
        "tokenizer_config": "tokenizer_config.json",
    }
    assert checkpoint.languages == {"source": "en", "target": "de"}
    assert checkpoint.license is None
    assert [path.name for path in checkpoint.documents] == ["LICENSE"]


def test_the_source_record_names_the_directory_and_hashes_but_no_path(read, tmp_path):
    record = read(MARIAN).source
    assert (record["type"], record["id"], record["revision"]) == ("local", "firefox-model", None)
    assert record["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in MARIAN.items()}
    assert str(tmp_path) not in json.dumps(record)


def test_safetensors_go_before_a_pickle(read):
    assert names(read({**MARIAN, "pytorch_model.bin": b"pickle"}))["weights"] == "model.safetensors"


def test_a_pickle_is_taken_where_there_is_nothing_else(read):
    files = {name: content for name, content in MARIAN.items() if name != "model.safetensors"}
    assert names(read({**files, "pytorch_model.bin": b"pickle"}))["weights"] == "pytorch_model.bin"


@pytest.mark.parametrize(
    ("card", "license_name"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\r\ntags: [x]\r\nlicense: apache-2.0\r\n---\r\ntext", "apache-2.0"),
        ("---\nlanguage: en\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
    ],
)
def test_the_licence_is_the_one_in_the_cards_front_matter(read, card, license_name):
    checkpoint = read({**MARIAN, "README.md": card.encode()})
    assert checkpoint.license == license_name
    assert checkpoint.source["license"] == license_name


def test_everything_missing_is_named_at_once(read):
    weights = r"model\.safetensors, model\.safetensors\.index\.json or pytorch_model\.bin"
    expected = rf"lacks source\.spm, vocab\.json, {weights}, which a MarianMT checkpoint needs"
    with pytest.raises(SourceError, match=expected):
        read({"config.json": MARIAN["config.json"], "target.spm": b"t"})


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
CAUSAL_LM = {
    "config.json": b'{"model_type": "qwen2"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights",
}


def without(files, *names):
    return {name: content for name, content in files.items() if name not in names}


def index(*names):
    weight_map = {f"tensor{i}": name for i, name in enumerate(names)}
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}).encode()


@pytest.mark.parametrize("files", [MARIAN, CAUSAL_LM], ids=["marian", "causal-lm"])
def test_sharded_weights_are_an_index_and_the_files_that_it_names(read, files):
    sharded = without(files, "model.safetensors") | {"model.safetensors.index.json": index(*SHARDS, SHARDS[0])}
    checkpoint = read({**sharded, SHARDS[0]: b"a", SHARDS[1]: b"b", "model-00003-of-00003.safetensors": b"old"})
    found = names(checkpoint)
    assert found["weights"] == "model.safetensors.index.json"
    assert [found[f"shard_{i}"] for i in (1, 2)] == list(SHARDS)
    assert "shard_3" not in found
    assert checkpoint.source["files"][SHARDS[1]] == hashlib.sha256(b"b").hexdigest()


def test_missing_shards_are_named(read):
    files = without(CAUSAL_LM, "model.safetensors") | {"model.safetensors.index.json": index(*SHARDS), SHARDS[1]: b"b"}
    with pytest.raises(SourceError, match=rf"lacks {SHARDS[0]}, which model\.safetensors\.index\.json names; fetch"):
        read(files)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/model.safetensors", "a/b.safetensors", "C:\\m.safetensors", "m.bin", "", 7]
)
def test_an_index_that_leads_out_of_its_directory_is_refused(read, name):
    files = without(CAUSAL_LM, "model.safetensors") | {"model.safetensors.index.json": index(name)}
    with pytest.raises(SourceError, match=r"index\.json: expected names of \.safetensors files beside it, found"):
        read(files)


@pytest.mark.parametrize("content", [b"{}", b'{"weight_map": []}', b'{"weight_map": {}}'])
def test_an_index_without_a_map_is_refused(read, content):
    with pytest.raises(SourceError, match=r"expected a weight_map that names the file of each tensor, found none"):
        read(without(CAUSAL_LM, "model.safetensors") | {"model.safetensors.index.json": content})


def test_pickled_weights_in_several_files_are_unsupported(read):
    with pytest.raises(UnsupportedError, match="holds pickled weights in several files; of sharded weights"):
        read(without(CAUSAL_LM, "model.safetensors") | {"pytorch_model.bin.index.json": b"{}"})


def test_a_decoder_only_directory_gives_its_files_by_role(read):
    extra = ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "chat_template.jinja")
    checkpoint = read({**CAUSAL_LM, **dict.fromkeys(extra, b"{}"), "vocab.json": b"{}", "README.md": b"# A card\n"})
    assert checkpoint.kind == "causal-lm"
    assert names(checkpoint) == {
        "config": "config.json",
        "tokenizer": "tokenizer.json",
        "weights": "model.safetensors",
        **{name.rpartition(".")[0]: name for name in extra},
    }
    assert checkpoint.languages == {"source": None, "target": None}
    assert [path.name for path in checkpoint.documents] == ["README.md"]


def test_a_decoder_only_model_may_state_its_languages(read):
    stated = {"tokenizer_config.json": b'{"source_lang": "en", "target_lang": "de"}'}
    assert read({**CAUSAL_LM, **stated}).languages == {"source": "en", "target": "de"}


def test_a_tokenizer_that_only_transformers_reads_is_named_with_what_to_do(read):
    with pytest.raises(
        SourceError,
        match=r"lacks tokenizer\.json, which a checkpoint of type qwen2 needs; it has tokenizer\.model, of which "
        r"transformers makes one: AutoTokenizer",
    ):
        read(without(CAUSAL_LM, "tokenizer.json") | {"tokenizer.model": b"spm"})


@pytest.mark.parametrize("config", [{}, {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}"}])
def test_one_gguf_file_is_a_checkpoint_whatever_describes_it(read, config):
    checkpoint = read({**config, "tiny.gguf": b"GGUF"})
    assert (checkpoint.kind, names(checkpoint)) == ("gguf", {"weights": "tiny.gguf"})
    assert checkpoint.source["files"] == {"tiny.gguf": hashlib.sha256(b"GGUF").hexdigest()}


def test_another_model_type_is_unsupported_by_name(read):
    with pytest.raises(UnsupportedError, match=r"config\.json has model_type 'bert'; edgekit exports 'marian'"):
        read({**MARIAN, "config.json": b'{"model_type": "bert"}'})


@pytest.mark.parametrize("config", [b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_broken_config_is_refused(read, config):
    with pytest.raises(SourceError, match=r"config\.json"):
        read({**MARIAN, "config.json": config})


def test_bergamot_files_are_told_apart_by_their_first_bytes(read):
    checkpoint = read(BERGAMOT)
    assert checkpoint.kind == "bergamot"
    assert names(checkpoint) == {
        "weights": "model.enpt.intgemm.alphas.bin",
        "source_spm": "vocab.enpt.spm",
        "target_spm": "vocab.enpt.spm",
        "shortlist": "lex.50.50.enpt.s2t.bin",
    }
    assert checkpoint.languages == {"source": "en", "target": "pt"}


def test_misleading_names_do_not_matter(read):
    checkpoint = read({"lex.bin": MARIAN_BINARY, "model.bin": SHORTLIST, "v.spm": b"v", "config.json": b"{}"})
    assert names(checkpoint)["weights"] == "lex.bin"
    assert names(checkpoint)["shortlist"] == "model.bin"
    assert checkpoint.languages == {"source": None, "target": None}


@pytest.mark.parametrize(
    ("source", "target"), [("srcvocab.enja.spm", "trgvocab.enja.spm"), ("source.spm", "target.spm")]
)
def test_two_vocabularies_are_told_apart_by_their_side(read, source, target):
    checkpoint = read({"m.bin": MARIAN_BINARY, source: b"s", target: b"t"})
    assert (names(checkpoint)["source_spm"], names(checkpoint)["target_spm"]) == (source, target)
    assert "shortlist" not in checkpoint.files


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no checkpoint: no config.json with a model_type, no .gguf file and no Marian .bin file"),
        (
            {"a.gguf": b"", "b.gguf": b""},
            r"holds several GGUF files \(a\.gguf, b\.gguf\); give the path of one of them",
        ),
        (
            {**MARIAN, "a.gguf": b""},
            r"two checkpoints, config\.json of type 'marian' and the GGUF file a\.gguf; .* or give the GGUF file's own",
        ),
        ({"config.json": b'{"a": 1}', "x.bin": b"\2" * 8}, "holds no checkpoint"),
        ({"x.bin": b"\1"}, "holds no checkpoint"),
        (
            {**BERGAMOT, "b.bin": MARIAN_BINARY},
            r"holds several Marian binaries \(b\.bin, model\.enpt.*leave one",
        ),
        ({**BERGAMOT, "b.bin": SHORTLIST}, r"holds several shortlists \(b\.bin, lex.*leave one of them"),
        ({**BERGAMOT, "b.spm": b"v"}, r"expected one vocabulary \*\.spm, or .* found b\.spm, vocab\.enpt\.spm; leave"),
        ({"m.bin": MARIAN_BINARY}, r"expected one vocabulary \*\.spm, or .* found none"),
        (
            {**MARIAN, "m.bin": MARIAN_BINARY},
            r"two checkpoints, config\.json of type 'marian' and the Marian binary m\.bin; leave one of them",
        ),
        ({**MARIAN, "bundle.json": b"{}"}, "is an edgekit bundle already; `edgekit quantize .*` makes it int8"),
    ],
)
def test_no_candidate_and_several_are_refused(read, files, message):
    with pytest.raises(SourceError, match=message):
        read(files)


def test_marians_npz_archives_are_unsupported(read):
    with pytest.raises(UnsupportedError, match=r"holds m\.npz; of Marian's own formats edgekit reads \.bin only"):
        read({"m.npz": b"PK"})


def test_firefox_files_as_published_are_unpacked_into_the_cache(read, cache):
    checkpoint = read({f"{name}.gz": gzip.compress(content) for name, content in BERGAMOT.items()})
    assert names(checkpoint)["weights"] == "model.enpt.intgemm.alphas.bin"
    assert checkpoint.files["weights"].read_bytes() == MARIAN_BINARY
    assert cache in checkpoint.files["weights"].parents
    assert checkpoint.languages == {"source": "en", "target": "pt"}


def test_a_truncated_gzip_is_refused_and_not_kept(read, cache):
    packed = gzip.compress(MARIAN_BINARY + bytes(range(256)) * 400)[:-20]
    with pytest.raises(SourceError, match=r"m\.bin\.gz is not a whole gzip file"):
        read({"m.bin.gz": packed, "v.spm": b"v"})
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_links_are_followed_as_in_the_hubs_cache(tmp_path):
    directory, blobs = tmp_path / "snapshot", tmp_path / "blobs"
    directory.mkdir()
    blobs.mkdir()
    for name, content in MARIAN.items():
        (blobs / f"blob-{name}").write_bytes(content)
        (directory / name).symlink_to(blobs / f"blob-{name}")
    record = read_directory(directory, "linked").source
    assert sorted(record["files"]) == sorted(MARIAN)
