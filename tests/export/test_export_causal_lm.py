"""Decoder-only checkpoint in, bundle out: logits as transformers', what the manifest says, the same bytes again."""

import json
import os

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from edgekit.bundle.generation import Chat, TextGeneration
from edgekit.bundle.read import open_bundle, verify_bundle
from edgekit.errors import SourceError, UnsupportedError
from edgekit.export import pipeline
from edgekit.export.pipeline import export_checkpoint
from edgekit.export.sources.local_directory import read_directory
from edgekit.runtime import load
from tests.export.causal_lm_directories import CHAT_TEMPLATE, CONTEXT, VOCAB, change, make_model, save_checkpoint

IDS = np.random.default_rng(3).integers(0, VOCAB, CONTEXT)
MODELS = {
    "llama": ("llama", {"tie_word_embeddings": True, "eos_token_id": [259, 260]}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"tie_word_embeddings": True}),
    "gpt2": ("gpt2", {}),
    "gemma3_text": ("gemma3_text", {}),
}
# Root mean square, of the logits' spread; random weights have no redundancy, so int4 costs more than in a trained one.
LARGEST_DIFFERENCE = {"fp32": 1e-5, "int8": 0.1, "int4": 0.6}


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def export(directory, precision, target):
    return export_checkpoint(read_directory(directory, "tiny"), precision, target)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    model_type, options = MODELS["llama"]
    directory = save_checkpoint(tmp_path_factory.mktemp("tiny-llama"), make_model(model_type, **options), adds_bos=True)
    (directory / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n", encoding="utf-8")
    return directory


@pytest.fixture(scope="module", params=["fp32", "int8", "int4"])
def bundle(request, llama, tmp_path_factory):
    return export(llama, request.param, tmp_path_factory.mktemp("bundles") / request.param)


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_of_the_bundle_are_near_those_of_transformers(name, precision, tmp_path):
    model_type, options = MODELS[name]
    model = make_model(model_type, **options)
    directory = save_checkpoint(tmp_path / "checkpoint", model)
    found = load(export(directory, precision, tmp_path / "bundle")).logits(IDS.tolist())
    with torch.no_grad():
        expected = model(torch.tensor(IDS[None])).logits[0].numpy()
    assert found.shape == expected.shape
    assert np.sqrt(np.mean((found - expected) ** 2)) <= LARGEST_DIFFERENCE[precision] * expected.std()
    if precision == "fp32":
        assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


def test_files_of_a_decoder_only_bundle(bundle):
    assert sorted(contents(bundle)) == [
        "README.md",
        "bundle.json",
        "chat_template.jinja",
        "model.onnx",
        "tokenizer.json",
        "weights.safetensors",
    ]
    assert [check.finding for check in verify_bundle(bundle)] == [None] * 5


def test_the_manifest_says_what_the_bundle_is(bundle, llama):
    manifest = open_bundle(bundle).manifest
    assert (manifest.kind, manifest.task, manifest.name) == ("causal-lm", "text-generation", "tiny")
    assert (manifest.precision, manifest.quantization.scheme) == (bundle.name, bundle.name)
    assert (manifest.languages.source, manifest.languages.target) == (None, None)
    assert manifest.generation == TextGeneration(258, (259, 260), None, CONTEXT, adds_bos=True)
    assert manifest.chat == Chat("chat_template.jinja", {"bos_token": "<|bos|>", "eos_token": "<|end|>"})
    assert (manifest.tokenizer.source, manifest.tokenizer.target) == ("tokenizer.json", "tokenizer.json")
    assert manifest.tokenizer.source_vocab_size == manifest.tokenizer.target_vocab_size == VOCAB
    assert (manifest.source.type, manifest.source.license) == ("local", "apache-2.0")
    assert set(manifest.source.files) >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert manifest.quantization.source is None
    assert manifest.architecture["model_type"] == "llama"


def test_the_tokenizer_and_the_template_are_the_checkpoints_own(bundle, llama):
    assert (bundle / "tokenizer.json").read_bytes() == (llama / "tokenizer.json").read_bytes()
    assert (bundle / "chat_template.jinja").read_text(encoding="utf-8") == CHAT_TEMPLATE


def test_the_recorded_continuation_begins_with_bos_and_comes_out_again(bundle):
    generator = load(bundle)
    recorded = generator.manifest.self_check
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    assert list(recorded.input_ids) == tokenizer.encode("The weather is fine today.").ids
    assert recorded.input_ids[0] == 258
    assert generator.generate_ids([recorded.input_ids], max_new_tokens=16) == [list(recorded.output_ids)]


def test_the_same_checkpoint_gives_the_same_bytes(bundle, llama, tmp_path):
    assert contents(export(llama, bundle.name, tmp_path / "again")) == contents(bundle)


def test_nothing_of_this_machine_is_in_a_bundle(bundle, llama):
    for name, content in contents(bundle).items():
        assert str(llama).encode() not in content, name
        assert str(bundle.parent).encode() not in content, name


def test_shards_are_recorded_each_and_give_the_same_weights(llama, tmp_path):
    model_type, options = MODELS["llama"]
    sharded = save_checkpoint(tmp_path / "sharded", make_model(model_type, **options), max_shard_size="30KB")
    exported = export(sharded, "fp32", tmp_path / "from-shards")
    files = open_bundle(exported).manifest.source.files
    assert {"model.safetensors.index.json", *(path.name for path in sharded.glob("model-*"))} <= set(files)
    whole = export(llama, "fp32", tmp_path / "whole")
    assert (exported / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


def test_a_base_model_has_no_chat(tmp_path):
    directory = save_checkpoint(tmp_path / "base", make_model("gpt2"), chat=False)
    exported = export(directory, "int8", tmp_path / "bundle")
    assert open_bundle(exported).manifest.chat is None
    assert not (exported / "chat_template.jinja").exists()


def test_a_decoder_only_model_may_translate(llama, tmp_path):
    directory = save_checkpoint(tmp_path / "translator", make_model("gpt2"))
    change(directory / "tokenizer_config.json", source_lang="en", target_lang="de")
    languages = open_bundle(export(directory, "int8", tmp_path / "bundle")).manifest.languages
    assert (languages.source, languages.target) == ("en", "de")


def test_a_context_shorter_than_the_recorded_text_is_no_fault(tmp_path):
    model = make_model("gpt2", n_positions=20)
    exported = export(save_checkpoint(tmp_path / "short", model), "fp32", tmp_path / "bundle")
    manifest = open_bundle(exported).manifest
    assert len(manifest.self_check.input_ids) + len(manifest.self_check.output_ids) <= 20


def test_a_tokenizer_that_the_runtime_cannot_decode_with_is_refused_in_one_line(llama, tmp_path):
    directory = save_checkpoint(tmp_path / "odd", make_model("gpt2"))
    change(directory / "tokenizer.json", decoder=None)
    with pytest.raises(SourceError, match=r"the checkpoint's tokenizer can't be used: .*no decoder"):
        export(directory, "fp32", tmp_path / "bundle")
    assert os.listdir(tmp_path) == ["odd"]


@pytest.mark.parametrize("step", ["write_causal_lm", "check_causal_lm", "record_continuation", "write_manifest"])
def test_whatever_fails_leaves_nothing_behind(step, llama, tmp_path, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, step, fail)
    with pytest.raises(KeyboardInterrupt):
        export(llama, "int8", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_size_is_refused_before_memory_is_taken(llama, tmp_path):
    directory = save_checkpoint(tmp_path / "huge", make_model("llama"))
    change(directory / "config.json", vocab_size=2**31 - 1)
    with pytest.raises(UnsupportedError, match=r"vocab_size=2147483647 \(expected at most 16777216\)"):
        export(directory, "int8", tmp_path / "out")
    change(directory / "config.json", vocab_size=1 << 24, max_position_embeddings=1 << 20, head_dim=1 << 20)
    with pytest.raises(SourceError, match=r"embed_tokens\.weight is \[300, 64\], expected \[16777216, 64\]"):
        export(directory, "int8", tmp_path / "out")


def test_the_manifest_is_json_that_names_int4(llama, tmp_path):
    manifest = json.loads((export(llama, "int4", tmp_path / "out") / "bundle.json").read_text(encoding="utf-8"))
    kinds = {tensor["dtype"] for tensor in manifest["quantization"]["tensors"].values()}
    assert "uint4" in kinds
