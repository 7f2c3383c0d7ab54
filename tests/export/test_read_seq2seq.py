"""Encoder-decoders from a directory to text: what transformers makes of it, languages by name, texts as a whole."""

import json

import numpy as np
import pytest
import torch

from edgekit.errors import InputError, SourceError
from edgekit.export.pipeline import export, export_checkpoint
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph.config import Seq2SeqConfig
from edgekit.quantize.bundle import quantize_bundle
from edgekit.runtime import load
from tests.cli.command import assert_fails, edgekit_here
from tests.graph.seq2seq_checkpoints import make_seq2seq, save_seq2seq, write_tokenizer

TEXT = "The weather is fine today. It may rain tomorrow!\nWho knows?"
LENGTH = 12


class Exported:
    """A tiny model, its tokenizer in transformers, and its fp32 bundle."""

    def __init__(self, model_type, variant, directory):
        self.model = make_seq2seq(model_type, seed=1)
        self.directory = save_seq2seq(
            self.model, directory / "checkpoint", generation={"max_length": LENGTH}, variant=variant
        )
        self.slow = write_tokenizer(model_type, directory / "tokenizer", variant)
        self.checkpoint = read_directory(self.directory, "tiny")
        self.bundle = export_checkpoint(self.checkpoint, "fp32", directory / "bundle")
        self.runtime = load(self.bundle)

    def expected(self, text, language):
        """The ids that transformers makes of a text, from behind the language up to EOS."""
        with torch.no_grad():
            ids = self.model.generate(
                **self.slow(text, return_tensors="pt"), num_beams=1, do_sample=False, forced_bos_token_id=language
            )
        row = ids[0].tolist()[2:]
        return row[: row.index(2)] if 2 in row else row


@pytest.fixture(scope="module")
def nllb(tmp_path_factory):
    return Exported("m2m_100", "nllb", tmp_path_factory.mktemp("nllb"))


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return Exported("t5", "", tmp_path_factory.mktemp("t5"))


def ids_of(exported, text, **languages):
    """What the bundle generates from the ids that transformers' tokenizer gives."""
    return exported.runtime.generate_ids([exported.slow(text).input_ids], max_length=1000, **languages)[0]


def test_a_many_language_model_translates_between_languages_by_their_codes(nllb):
    found = []
    for target in ("deu_Latn", "fra_Latn"):
        language = nllb.slow.convert_tokens_to_ids(target)
        text = "The weather is fine today"
        ids = ids_of(nllb, text, source_language="eng_Latn", target_language=target)
        assert ids == nllb.expected(text, language)
        translated = nllb.runtime.translate(text, target_language=target, max_length=1000)
        assert translated == nllb.runtime.target_tokenizer.decode(ids)
        found.append(ids)
    assert found[0] != found[1]
    # Those of tokenizer_config.json, unless others are asked for.
    assert (nllb.checkpoint.languages, nllb.checkpoint.task) == (
        {"source": "eng_Latn", "target": "deu_Latn"},
        "translation",
    )
    assert nllb.runtime.translate(text, max_length=1000) == nllb.runtime.target_tokenizer.decode(found[0])
    with pytest.raises(InputError, match=r"no target language 'de'; did you mean deu_Latn\?"):
        nllb.runtime.translate(text, target_language="de")


def test_a_language_token_is_certain_in_beam_search_too(nllb):
    ids = nllb.slow("The weather is fine today").input_ids
    language = nllb.slow.convert_tokens_to_ids("fra_Latn")
    with torch.no_grad():
        expected = nllb.model.generate(torch.tensor([ids]), num_beams=3, do_sample=False, forced_bos_token_id=language)
    rows = expected[0].tolist()[2:]
    found = nllb.runtime.generate_ids([ids], beams=3, target_language="fra_Latn", max_length=1000)[0]
    assert found == (rows[: rows.index(2)] if 2 in rows else rows)


def test_a_text_that_is_no_translation_goes_to_the_model_whole(t5):
    assert (t5.checkpoint.task, t5.runtime.manifest.task) == ("text2text", "text2text")
    whole = t5.runtime.source_tokenizer.encode(TEXT)
    found = t5.runtime.generate_ids([[*whole, 1]], max_length=1000)[0]
    assert t5.runtime.translate(TEXT, max_length=1000) == t5.runtime.target_tokenizer.decode(found)
    with pytest.raises(InputError, match=r"this text has \d+ tokens; the model takes at most 2047: shorten it"):
        t5.runtime.translate("A word and another. " * 1000)


def test_quantising_the_bundle_keeps_what_it_is_and_comes_close(nllb, tmp_path):
    bundle = quantize_bundle(nllb.bundle, "int8", tmp_path / "int8")
    manifest = load(bundle).manifest
    for part in ("language_tokens", "languages", "generation", "tokenizer", "architecture", "task"):
        assert getattr(manifest, part) == getattr(nllb.runtime.manifest, part)
    assert (bundle / "weights.safetensors").stat().st_size < 0.5 * (nllb.bundle / "weights.safetensors").stat().st_size


def test_an_architecture_that_is_too_old_to_know_the_newer_options_reads_the_same(embedded_fp32):
    architecture = json.loads((embedded_fp32 / "bundle.json").read_text(encoding="utf-8"))["architecture"]
    newer = ("norm_position", "norm", "positions", "embedding_norm", "final_norm", "gated_ffn", "attention_scaled")
    older = {name: value for name, value in architecture.items() if name not in (*newer, "head_dim")}
    assert Seq2SeqConfig.from_dict(older) == Seq2SeqConfig.from_dict(architecture)


@pytest.mark.parametrize("file", ["spiece.model", "tokenizer_config.json"])
def test_a_missing_or_damaged_tokenizer_is_one_line(t5, file, tmp_path):
    for path in t5.directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if file == "spiece.model":
        (tmp_path / file).unlink()
        message = r"lacks tokenizer\.json, which a checkpoint of type t5 needs"
    else:
        (tmp_path / file).write_text('{"extra_ids": "x"}')
        message = "expected 0 to 4096 extra_ids, found 'x'"
    with pytest.raises(SourceError, match=message):
        export(str(tmp_path), "fp32", tmp_path / "bundle")


def test_the_command_line_takes_languages(nllb):
    done = edgekit_here("translate", nllb.bundle, "--from", "eng_Latn", "--to", "fra_Latn", "A text")
    assert (done.returncode, done.stdout) == (0, nllb.runtime.translate("A text", target_language="fra_Latn") + "\n")
    assert_fails(edgekit_here("translate", nllb.bundle, "--to", "french", "A text"), 1, "'french'")


def test_positions_of_a_relative_model_do_not_depend_on_the_batch(t5):
    random = np.random.default_rng(0)
    rows = [[*random.integers(3, 300, length).tolist(), 1] for length in (2, 17, 5, 30)]
    together = t5.runtime.generate_ids(rows, max_length=40)
    assert together == [t5.runtime.generate_ids([row], max_length=40)[0] for row in rows]
