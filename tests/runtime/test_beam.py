"""Beam search: transformers' hypotheses and scores, the same alone and in any batch, for every kind of decoder."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import MarianMTModel

from edgekit.bundle.read import open_bundle
from edgekit.errors import BundleError, InputError
from edgekit.export.pipeline import export_checkpoint
from edgekit.export.read_bergamot import read_bergamot
from edgekit.export.sources.local_directory import read_directory
from edgekit.quality.parallel_text import load_testset
from edgekit.recipes import embedded_dir
from edgekit.runtime import beam, beam_scores, load
from edgekit.runtime.shortlist import load_shortlist
from edgekit.runtime.translator import Hypothesis
from tests.graph.forced_decoding import ForcedDecoding
from tests.graph.marian_checkpoints import make_marian, save_marian

BUNDLES = ("embedded_int8", "embedded_fp32", "student_bundle", "student_fp32_bundle", "marian_bundle")
SETTINGS = [
    {"beams": 4},
    {"beams": 4, "early_stopping": True, "length_penalty": 0.6},
    {"beams": 3, "early_stopping": "never", "length_penalty": 1.4},
    {"beams": 2, "early_stopping": "never", "length_penalty": -0.5},
    {"beams": 6, "length_penalty": 0.0},
]
# Options of the model and of generation_config.json; transformers forces an EOS where the latter says so.
RANDOM = {
    "forced EOS": ({"decoder_layers": 2}, {"max_length": 12, "forced_eos_token_id": 0}),
    "no forced EOS": ({"activation_function": "relu", "scale_embedding": True}, {"max_length": 12}),
    "suppressed ids": (
        {"decoder_attention_heads": 1, "activation_function": "gelu", "encoder_layers": 2},
        {"max_length": 16, "bad_words_ids": [[77], [5], [9], [130]], "forced_eos_token_id": 0},
    ),
    # Of one size: transformers' beam search counts the source's.
    "separate vocabularies": (
        {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 131, "tie_word_embeddings": False},
        {"max_length": 10, "bad_words_ids": [[130]]},
    ),
    "never an EOS": ({"eos_bias": -1e4}, {"max_length": 9}),
}


@pytest.fixture(scope="module", params=BUNDLES)
def translator(request):
    return load(request.getfixturevalue(request.param))


def sentences(translator, count, longest, seed=0):
    """Random source ids of 1 to ``longest`` tokens, EOS included."""
    random = np.random.default_rng(seed)
    eos = translator.manifest.generation.eos_token_id
    top = translator.manifest.tokenizer.source_vocab_size - 1
    longest = min(longest, translator.manifest.generation.max_source_tokens)
    lengths = [1, 2, 3, longest, *random.integers(1, longest + 1, count - 4)]
    return [[*random.integers(2, top, length - 1).tolist(), eos] for length in lengths]


def generate(model, rows, *, beams, length_penalty=1.0, early_stopping=False, **options):
    """All of transformers' hypotheses, ids without EOS and padding, and scores."""
    pad_id, width = model.config.pad_token_id, max(map(len, rows))
    with torch.no_grad():
        found = model.generate(
            input_ids=torch.tensor([row + [pad_id] * (width - len(row)) for row in rows]),
            attention_mask=(torch.arange(width) < torch.tensor([[len(row)] for row in rows])).long(),
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            do_sample=False,
            output_scores=True,
            return_dict_in_generate=True,
            **options,
        )
    # After the start token: ids, EOS unless the limit came first, padding.
    ids = [row[: row.index(0)] if 0 in row else row for row in found.sequences[:, 1:].tolist()]
    scored = list(zip(ids, found.sequences_scores.tolist(), strict=True))
    return [scored[i : i + beams] for i in range(0, len(scored), beams)]


def assert_same(found, expected, tolerance=1e-4):
    assert [[h.ids for h in row] for row in found] == [[ids for ids, _ in row] for row in expected]
    scores, theirs = [[h.score for h in row] for row in found], [[score for _, score in row] for row in expected]
    np.testing.assert_allclose(scores, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", RANDOM)
def test_random_models_give_the_hypotheses_and_scores_of_transformers(name, tmp_path):
    options, generation = RANDOM[name]
    model = make_marian(seed=sorted(RANDOM).index(name), **options)
    save_marian(model, tmp_path, generation=generation)
    translator = load(export_checkpoint(read_directory(tmp_path, "tiny"), "fp32", tmp_path / "bundle"))
    rows = sentences(translator, 10, 20)
    limit = translator.manifest.generation.max_length
    for settings in SETTINGS:
        found = translator.n_best_ids(rows, settings["beams"], max_length=limit, **settings)
        assert_same(found, generate(model, rows, **settings))
    # A relative limit, or a caller's, is a max_length of one sentence.
    found = translator.n_best_ids(rows, 4, max_length=5)
    assert_same(found, generate(model, rows, beams=4, max_length=5 + 1 + ("forced_eos_token_id" in generation)))


@pytest.mark.parametrize("settings", SETTINGS[:3])
def test_the_embedded_checkpoint_gives_the_hypotheses_and_scores_of_transformers(embedded_fp32, settings):
    translator = load(embedded_fp32)
    sources = load_testset("tatoeba", "en", "de").first(20).sources
    rows = [[*translator.source_tokenizer.encode(text), 0] for text in sources]
    model = MarianMTModel.from_pretrained(embedded_dir("marian-en-de")).eval()
    expected = generate(model, rows, **settings, max_length=30 + 1 + 1)  # the start, and the forced EOS
    found = translator.n_best_ids(rows, settings["beams"], max_length=30, **settings)
    assert_same(found, expected)
    assert translator.generate_ids(rows, max_length=30, **settings) == [row[0][0] for row in expected]


def test_hypotheses_are_the_same_alone_and_in_batches_of_any_size_and_order(translator):
    """Bit for bit; with a shortlist but for the sum over its ids, of which a batch has more, in another order."""
    rows = sentences(translator, 16, 60)
    alone = [translator.n_best_ids([row], 4, max_length=12)[0] for row in rows]
    random = np.random.default_rng(1)
    for batch_tokens in (200, 1024, 10**6):
        order = random.permutation(len(rows))
        found = translator.n_best_ids([rows[i] for i in order], 4, batch_tokens=batch_tokens, max_length=12)
        assert_same(found, [alone[i] for i in order], tolerance=0 if translator.manifest.shortlist is None else 1e-6)
    assert len({tuple(hypotheses[0].ids) for hypotheses in alone}) > 3


@pytest.mark.parametrize("share", [0.0001, 2.0])
def test_dropping_done_sentences_changes_nothing(translator, share, monkeypatch):
    rows = sentences(translator, 12, 20, seed=2)
    usual = translator.n_best_ids(rows, 3)
    monkeypatch.setattr(beam, "DROP_SHARE", share)
    assert translator.n_best_ids(rows, 3) == usual


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("bundle", ["endless_bundle", "student_bundle"])
def test_caches_that_grow_change_nothing(bundle, step, request, monkeypatch):
    translator = load(request.getfixturevalue(bundle))
    rows = sentences(translator, 6, 12, seed=4)
    usual = translator.n_best_ids(rows, 4, max_length=40)
    monkeypatch.setattr(beam, "CAPACITY_STEP", step)
    assert translator.n_best_ids(rows, 4, max_length=40) == usual


def test_done_sentences_leave_the_batch(embedded_fp32, monkeypatch):
    translator = load(embedded_fp32)
    rows, step = [], beam._Batch.step
    monkeypatch.setattr(beam._Batch, "step", lambda self: rows.append(self.beams.ids.shape) or step(self))
    translator.translate(["Yes.", "No.", "The children are playing in the garden behind the old house."], beams=4)
    assert rows[0] == (3, 4)
    assert rows[-1] == (1, 4)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_score_is_that_of_its_tokens_one_by_one(student_bundle, student_fp32_bundle, precision, tmp_path):
    """For recurrent decoders too: the logits of greedy search's graph, forced through each hypothesis."""
    path = student_bundle if precision == "int8" else student_fp32_bundle
    read = read_bergamot(read_directory(student_bundle.parent, "student"))
    translator, shortlist = load(path), load_shortlist(path.joinpath, open_bundle(path).manifest)
    forced = ForcedDecoding(tmp_path, read.config, read.weights, precision, shortlist)
    eos, start = read.generation.eos_token_id, read.generation.start_token_id
    for row in sentences(translator, 6, 12, seed=3):
        listed = shortlist.candidates(row)
        for ids, score in translator.n_best_ids([row], 3, length_penalty=0.7, max_length=10)[0]:
            tokens = ids if len(ids) == 10 else [*ids, eos]
            logits, _ = forced.logits([row], [[start, *tokens[:-1]]])
            log_probabilities = torch.from_numpy(logits[0]).log_softmax(-1).numpy()
            summed = log_probabilities[np.arange(len(tokens)), np.searchsorted(listed, tokens)].sum()
            assert score == pytest.approx(summed / len(tokens) ** 0.7, abs=1e-4)


def test_more_beams_find_nothing_less_likely_on_average(translator):
    rows = sentences(translator, 12, 16, seed=5)
    scores = {
        beams: np.mean([row[0].score for row in translator.n_best_ids(rows, 1, beams=beams, length_penalty=0.0)])
        for beams in (1, 8)
    }
    assert scores[8] >= scores[1]


def test_one_beam_is_greedy_search_with_a_score(translator):
    rows = sentences(translator, 10, 20, seed=6)
    found = translator.n_best_ids(rows, 1, beams=1)
    assert [row[0].ids for row in found] == translator.generate_ids(rows)
    assert all(row[0].score <= 0 for row in found)


def test_texts_in_texts_and_hypotheses_out(embedded_fp32):
    translator = load(embedded_fp32)
    texts = ["Good morning!", "...", "The children are playing in the garden."]
    found = translator.n_best(texts, 3)
    assert [row[0].text for row in found] == translator.translate(texts, beams=4)
    assert found[0] == translator.n_best(texts[0], 3)
    assert found[1] == [Hypothesis("...", 0.0)]
    assert [len(row) for row in found] == [3, 1, 3]
    assert [h.score for h in found[2]] == sorted((h.score for h in found[2]), reverse=True)
    assert translator.translate([], beams=4) == translator.n_best([], 2) == []
    assert translator.translate("Good morning!", beams=4) == "Guten Morgen!"


def test_a_cut_text_has_hypotheses_of_its_pieces(embedded_fp32):
    translator = load(embedded_fp32)
    text = "I am reading a book. " * 60
    (first, second) = translator.n_best(text, 2, beams=2)
    assert first.text == translator.translate(text, beams=2)
    assert second.text != first.text
    assert second.score < first.score < 0


def test_the_beam_decoder_is_loaded_by_the_first_call_that_needs_it(embedded_int8):
    translator = load(embedded_int8)
    translator.translate("Yes.")
    assert not translator._search.has_beam_search
    translator.translate("Yes.", beams=2)
    assert translator._search.has_beam_search
    loaded = translator._search.load_beam_search()
    translator.translate("No.", beams=3)
    assert translator._search.load_beam_search() is loaded


def test_a_bundle_without_a_beam_decoder_translates_greedily_and_says_what_to_do(embedded_int8, tmp_path):
    bundle = shutil.copytree(embedded_int8, tmp_path / "bundle")
    values = json.loads((bundle / "bundle.json").read_text("utf-8"))
    del values["graphs"]["beam_decoder"], values["files"]["beam_decoder.onnx"]
    (bundle / "bundle.json").write_text(json.dumps(values), "utf-8")
    translator = load(bundle)
    assert translator.translate("Good morning!") == "Guten Morgen!"
    message = "bundle: this bundle has no decoder for beam search; export the model again, or translate with one beam"
    with pytest.raises(BundleError, match=message):
        translator.translate("Good morning!", beams=2)


def test_a_manifest_that_does_not_fit_the_beam_decoder_is_refused(embedded_int8, student_bundle):
    manifest = open_bundle(embedded_int8).manifest
    student = load(student_bundle)._search.load_beam_search()
    message = r"the beam decoder's inputs lack ancestors; .*export the model again"
    with pytest.raises(BundleError, match=message):
        beam.BeamSearch(manifest, student.encoder, student.decoder)


@pytest.mark.parametrize(("n", "beams"), [(5, 4), (2, 1)])
def test_more_hypotheses_than_beams_are_refused(embedded_int8, n, beams):
    with pytest.raises(InputError, match=f"n must be at most the number of beams, {beams}, found {n}"):
        load(embedded_int8).n_best("Yes.", n, beams=beams)


@pytest.mark.parametrize("n", [0, "2", None, True])
def test_numbers_of_hypotheses_that_are_none_are_refused(embedded_int8, n):
    with pytest.raises(InputError, match=f"n must be a whole number from 1, found {n!r}"):
        load(embedded_int8).n_best("Yes.", n)


def test_more_beams_than_target_tokens_are_refused(marian_bundle, monkeypatch):
    monkeypatch.setattr(beam_scores, "MOST_BEAMS", 200)
    translator = load(marian_bundle)
    rows = sentences(translator, 4, 6)
    assert [len(row) for row in translator.n_best_ids(rows, 131, max_length=4)] == [131] * 4
    with pytest.raises(InputError, match="beams must be at most the 131 target tokens there are, found 132"):
        translator.n_best_ids(rows, 132)


def test_settings_are_checked_whatever_there_is_to_translate(embedded_int8):
    translator = load(embedded_int8)
    with pytest.raises(InputError, match="beams must be a whole number from 1, found 0"):
        translator.translate([], beams=0)
    with pytest.raises(InputError, match="length_penalty must be a number from -10 to 10, found nan"):
        translator.translate([], length_penalty=float("nan"))
