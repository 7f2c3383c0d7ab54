"""What a model's settings forbid a search: hand-worked rules, and whole searches equal to transformers'."""

import numpy as np
import pytest
import torch

from edgekit.bundle.generation import Generation
from edgekit.errors import SourceError
from edgekit.export.architectures.seq2seq_options import read_rules, unapplied
from edgekit.export.pipeline import export_checkpoint
from edgekit.export.read_seq2seq import read_seq2seq
from edgekit.export.sources.local_directory import read_directory
from edgekit.runtime import load
from edgekit.runtime.beam_scores import IMPOSSIBLE, Candidates
from edgekit.runtime.search_rules import forbidden, repeating
from tests.graph.seq2seq_checkpoints import make_seq2seq, save_seq2seq

EOS = 2
SOURCES = [[5, 17, 40, 8, EOS], [33, EOS], [4, 9, 120, 77, 61, 200, 14, 3, EOS]]


def rules(**options):
    return Generation(2, EOS, 1, 3, 64, 40, 100.0, **options)


def test_what_follows_the_last_ids_elsewhere_is_a_repetition():
    targets = np.array([[[7, 8, 9, 7, 8, 4, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8]]])
    assert [sorted(set(row.tolist()) - {-1}) for row in repeating(targets, 3)[0]] == [[4, 9], []]
    assert [sorted(set(row.tolist()) - {-1}) for row in repeating(targets, 2)[0]] == [[4, 9], []]
    assert [sorted(set(row.tolist()) - {-1}) for row in repeating(targets[..., :3], 1)[0]] == [[7, 8, 9], [1, 2, 3]]
    assert repeating(targets[..., :2], 3).shape == (1, 2, 0)


def test_eos_is_forbidden_until_a_target_has_its_least_length():
    for length, expected in ((1, EOS), (4, EOS), (5, -1)):  # the start token and up to four more
        found = forbidden(rules(min_length=4), np.zeros((1, 2, length), np.int64))
        assert found.ids.tolist() == [[[expected], [expected]]]
        assert found.most == (2 if expected == EOS else 0)


def test_forbidden_candidates_of_their_beam_come_last_and_are_impossible():
    candidates = Candidates(
        np.array([[-1, -2, -3, -4]], np.float32), np.array([[6, 6, 7, 8]]), np.array([[0, 1, 0, 1]])
    )
    targets = np.array([[[9, 6, 9], [9, 7, 8]]])  # 6 may not follow the first, anything may follow the second
    struck = forbidden(rules(no_repeat_ngram_size=2), targets)
    assert struck.most == 1
    kept = struck.strike(candidates, 3)
    assert (kept.ids.tolist(), kept.beams.tolist(), kept.scores.tolist()) == ([[6, 7, 8]], [[1, 0, 1]], [[-2, -3, -4]])
    assert struck.strike(candidates, 4).scores[0, 3] == IMPOSSIBLE


RULES = {
    "bart-min-length": ("bart", {"min_length": 12, "num_beams": 4}),
    "bart-no-repeated-pairs-end-forced": ("bart", {"no_repeat_ngram_size": 2, "forced_eos_token_id": EOS}),
    "bart-both-and-first-token": ("bart", {"min_length": 9, "no_repeat_ngram_size": 3, "forced_bos_token_id": 0}),
    "t5-no-repeated-ids-min-new-tokens": ("t5", {"min_new_tokens": 6, "no_repeat_ngram_size": 1}),
}

BEAMS = "the checkpoint recommends beam search; edgekit searches greedily unless asked: beams=4"
UNAPPLIED = {"bart-min-length": [BEAMS]}


@pytest.fixture(scope="module", params=RULES)
def case(request, tmp_path_factory):
    """transformers' model and its bundle, whose weights repeat themselves and end early without the rules."""
    model_type, options = RULES[request.param]
    model = make_seq2seq(model_type, seed=3)
    if request.param == "bart-min-length":
        model.final_logits_bias[:, EOS] = 5.0
    directory = tmp_path_factory.mktemp(request.param)
    save_seq2seq(model, directory / "checkpoint", generation={"max_length": 30, **options})
    checkpoint = read_directory(directory / "checkpoint", "tiny")
    assert list(read_seq2seq(checkpoint).unapplied) == UNAPPLIED.get(request.param, [])
    bundle = export_checkpoint(checkpoint, "fp32", directory / "fp32")
    return model, load(bundle), model.generation_config.eos_token_id


def generated(case, beams, **options):
    """What transformers makes of the sources, from behind the start token and a forced first one up to EOS."""
    model, _, eos = case
    pad, width = model.config.pad_token_id, max(map(len, SOURCES))
    with torch.no_grad():
        rows = model.generate(
            input_ids=torch.tensor([row + [pad] * (width - len(row)) for row in SOURCES]),
            attention_mask=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in SOURCES]),
            num_beams=beams,
            do_sample=False,
            **options,
        )
    first = 1 + (model.generation_config.forced_bos_token_id is not None)
    return [row[: row.index(eos)] if eos in row else row for row in (row[first:] for row in rows.tolist())]


@pytest.mark.parametrize("beams", [1, 2, 4])
def test_outputs_equal_those_of_generate_that_follows_the_same_rules(case, beams):
    expected = generated(case, beams)
    found = case[1].generate_ids(SOURCES, beams=beams, max_length=1000)
    assert found == expected
    assert [case[1].generate_ids([row], beams=beams, max_length=1000)[0] for row in SOURCES] == found
    without = {"min_length": 0, "min_new_tokens": None, "no_repeat_ngram_size": 0}
    assert generated(case, beams, **without) != expected  # else nothing was forbidden


def test_what_a_checkpoint_recommends_and_a_bundle_does_not_do_is_said_by_name(tmp_path):
    summary = {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "min_length": 56}
    assert unapplied(summary) == (f"{BEAMS}, length_penalty=2.0, early_stopping=True",)
    # Without beams, these two say nothing.
    assert unapplied({"num_beams": 1, "length_penalty": 0.6, "early_stopping": True}) == ()
    (line,) = unapplied({"repetition_penalty": 1.2, "do_sample": True})
    assert line.startswith("the checkpoint recommends repetition_penalty=1.2, do_sample=True, which edgekit does not")
    directory = save_seq2seq(make_seq2seq("t5"), tmp_path / "checkpoint", generation={"repetition_penalty": 1.5})
    said = []
    export_checkpoint(read_directory(directory, "tiny"), "fp32", tmp_path / "fp32", notify=said.append)
    (line,) = said
    assert line.startswith("tiny: the checkpoint recommends repetition_penalty=1.5, which edgekit does not apply")


def test_rules_count_as_transformers_counts_and_no_others_are_taken():
    assert read_rules({"min_length": 56, "no_repeat_ngram_size": 3}) == {"min_length": 55, "no_repeat_ngram_size": 3}
    assert read_rules({"min_length": 0, "min_new_tokens": 7}) == {"min_length": 7, "no_repeat_ngram_size": 0}
    for wrong in (-1, 2.5, True, 1 << 20):
        with pytest.raises(SourceError, match=r"expected 0 to 16384 for no_repeat_ngram_size, found"):
            read_rules({"no_repeat_ngram_size": wrong})
