"""The rules of beam search on hand-worked candidates: what goes on, what is kept, when a sentence is done."""

import math

import numpy as np
import pytest

from edgekit.bundle.generation import Generation
from edgekit.errors import InputError
from edgekit.runtime.beam_scores import MOST_BEAMS, Beams, BeamSettings, Candidates, ScoredIds

START, EOS = 9, 0


def make_beams(limits, *, beams=2, length_penalty=1.0, early_stopping=False, forces_eos=False):
    generation = Generation(START, EOS, 9, 1, 16, 32, 2.0, forces_eos)
    return Beams(BeamSettings(beams, length_penalty, early_stopping), limits, 8, generation)


def candidates(*sentences):
    """One list of (score, id, beam) a sentence."""
    scores, ids, beams = zip(*(zip(*sentence, strict=True) for sentence in sentences), strict=True)
    return Candidates(np.array(scores, np.float32), np.array(ids, np.int64), np.array(beams, np.int64))


FIRST = [(-1, 5, 0), (-2, 6, 0), (-3, 7, 0), (-4, 8, 0)]


def test_at_first_only_one_beam_counts():
    beams = make_beams([8])
    assert beams.ids.tolist() == [[START, START]]
    assert beams.scores.tolist() == [[0, -1e9]]


def test_the_best_continuations_take_the_beams_places():
    beams = make_beams([8])
    assert beams.advance(candidates(FIRST)).tolist() == [0, 0]
    assert beams.ids.tolist() == [[5, 6]]
    assert beams.scores.tolist() == [[-1, -2]]
    assert beams.advance(candidates([(-3, 3, 1), (-4, 4, 1), (-5, 2, 0), (-6, 2, 1)])).tolist() == [1, 1]
    assert beams.ids.tolist() == [[3, 4]]
    assert beams.ancestors[0, :, :2].tolist() == [[0, 1], [0, 1]]


def test_rows_are_numbered_through_the_batch():
    beams = make_beams([8, 8])
    assert beams.advance(candidates(FIRST, [(-1, 5, 1), (-2, 6, 0), (-3, 7, 0), (-4, 8, 0)])).tolist() == [0, 0, 3, 2]


def test_an_ended_hypothesis_is_kept_and_the_next_candidate_takes_its_place():
    beams = make_beams([8], length_penalty=0.5)
    beams.advance(candidates(FIRST))
    beams.advance(candidates([(-2.5, EOS, 1), (-3, 3, 1), (-4, 4, 0), (-5, EOS, 0)]))
    assert beams.ids.tolist() == [[3, 4]]
    assert beams.scores.tolist() == [[-3, -4]]
    # Two tokens, EOS included; the EOS of rank 3 is not among the best two.
    assert beams.hypotheses(0) == [ScoredIds([6], pytest.approx(-2.5 / math.sqrt(2)))]


def test_tokens_are_found_through_ancestors_that_crossed():
    beams = make_beams([8])
    beams.advance(candidates(FIRST))  # 5 | 6
    beams.advance(candidates([(-2, 3, 1), (-3, 4, 0), (-4, 2, 0), (-5, 2, 1)]))  # 6 3 | 5 4
    beams.advance(candidates([(-3, 7, 1), (-4, 8, 0), (-5, 2, 0), (-6, 2, 1)]))  # 5 4 7 | 6 3 8
    beams.advance(candidates([(-4, EOS, 1), (-5, EOS, 0), (-6, 2, 0), (-7, 2, 1)]))
    assert beams.hypotheses(0) == [ScoredIds([6, 3, 8], -1), ScoredIds([5, 4, 7], -1.25)]


def test_only_the_best_hypotheses_are_kept():
    beams = make_beams([8], early_stopping="never")
    beams.advance(candidates(FIRST))
    beams.advance(candidates([(-4, EOS, 0), (-5, EOS, 1), (-6, 3, 0), (-7, 4, 1)]))
    assert [h.score for h in beams.hypotheses(0)] == [-2, -2.5]
    beams.advance(candidates([(-6.3, EOS, 0), (-8, 3, 0), (-9, 3, 1), (-10, 4, 1)]))
    assert beams.hypotheses(0) == [ScoredIds([5], -2), ScoredIds([5, 3], pytest.approx(-2.1))]


@pytest.mark.parametrize(
    ("early_stopping", "running", "done"),
    [
        (True, -2.0, True),  # as many as beams is enough
        (False, -2.0, False),  # -2/2 is better than -3/2
        (False, -4.0, True),  # -4/2 is not
        ("never", -4.0, False),  # -4/8 would be
        ("never", -13.0, True),  # -13/8 would not
    ],
)
def test_when_a_sentence_is_done(early_stopping, running, done):
    beams = make_beams([8], early_stopping=early_stopping)
    beams.advance(candidates(FIRST))
    beams.advance(candidates([(-2.5, EOS, 0), (-3, EOS, 1), (running, 3, 0), (running - 1, 4, 1)]))
    assert len(beams.hypotheses(0)) == 2
    assert beams.done.tolist() == [done]


def test_a_penalty_below_0_asks_never_of_the_present_length():
    beams = make_beams([8], early_stopping="never", length_penalty=-1.0)
    beams.advance(candidates(FIRST))
    beams.advance(candidates([(-3, EOS, 0), (-3, EOS, 1), (-4, 3, 0), (-5, 4, 1)]))
    assert [h.score for h in beams.hypotheses(0)] == [-6, -6]
    assert beams.done.tolist() == [True]


def test_a_done_sentence_takes_no_more_hypotheses():
    beams = make_beams([8, 8], early_stopping=True)
    ending = [(-2, EOS, 0), (-3, EOS, 1), (-4, 3, 0), (-5, 4, 1)]
    beams.advance(candidates(FIRST, FIRST))
    beams.advance(candidates(ending, [(-2, 3, 0), (-3, 4, 1), (-4, 3, 1), (-5, 4, 0)]))
    found = list(beams.hypotheses(0))
    beams.advance(candidates([(-0.1, EOS, 0), *ending[1:]], ending))
    assert beams.hypotheses(0) == found
    assert beams.done.tolist() == [True, True]


def test_at_its_limit_a_sentence_keeps_its_best_candidates_as_they_are():
    beams = make_beams([2])
    beams.advance(candidates(FIRST))
    beams.advance(candidates([(-2, 3, 1), (-3, EOS, 0), (-4, 4, 0), (-5, 4, 1)]))
    assert beams.hypotheses(0) == [ScoredIds([6, 3], -1), ScoredIds([5], -1.5)]
    assert beams.done.tolist() == [True]


def test_a_forced_eos_counts_for_the_length_and_costs_nothing():
    beams = make_beams([2], forces_eos=True)
    beams.advance(candidates(FIRST))
    beams.advance(candidates([(-3, 3, 1), (-6, EOS, 0), (-9, 4, 0), (-12, 4, 1)]))
    # The second beam of the two, [5, 4], ends three long with -9 / 3; [5] ended two long with -6 / 2.
    assert beams.hypotheses(0) == [ScoredIds([6, 3], -1), ScoredIds([5], -3)]


def test_each_sentence_has_its_own_limit_and_kept_ones_go_on():
    beams = make_beams([1, 3])
    beams.advance(candidates(FIRST, FIRST))
    assert beams.done.tolist() == [True, False]
    assert beams.hypotheses(0) == [ScoredIds([5], -1), ScoredIds([6], -2)]
    beams.keep(np.array([1]))
    beams.lengthen(20)
    assert beams.ancestors.shape == (1, 2, 20)
    beams.advance(candidates([(-2, 3, 1), (-3, 4, 0), (-4, 2, 0), (-5, 2, 1)]))
    beams.advance(candidates([(-3, 7, 0), (-6, 8, 0), (-7, 2, 0), (-8, 2, 1)]))
    assert beams.hypotheses(0) == [ScoredIds([6, 3, 7], -1), ScoredIds([6, 3, 8], -2)]


def test_what_met_a_suppressed_id_is_no_hypothesis():
    beams = make_beams([2])
    beams.advance(candidates([(-1, 5, 0), (-1e9, 6, 0), (-1e9, 7, 0), (-1e9, 8, 0)]))
    beams.advance(candidates([(-2, EOS, 0), (-1e9, EOS, 1), (-1e9, 3, 0), (-1e9, 4, 0)]))
    assert beams.hypotheses(0) == [ScoredIds([5], -1)]


@pytest.mark.parametrize("beams", [0, -1, 1.5, "4", None, True])
def test_beams_that_are_no_number_are_refused(beams):
    with pytest.raises(InputError, match=f"beams must be a whole number from 1, found {beams!r}"):
        BeamSettings.checked(beams, 1.0, False)


def test_too_many_beams_are_refused():
    assert BeamSettings.checked(MOST_BEAMS, 1, False) == BeamSettings(64, 1.0, False)
    with pytest.raises(InputError, match="beams must be a whole number from 1 to 64, found 65"):
        BeamSettings.checked(65, 1.0, False)


@pytest.mark.parametrize("penalty", [math.nan, math.inf, -math.inf, 10.1, "1", None, True, 1j])
def test_penalties_that_are_no_number_are_refused(penalty):
    with pytest.raises(InputError, match=r"length_penalty must be a number from -10 to 10, found") as refused:
        BeamSettings.checked(4, penalty, False)
    assert repr(penalty) in str(refused.value)


@pytest.mark.parametrize("early", [None, 1, "always", "True"])
def test_early_stopping_of_another_kind_is_refused(early):
    with pytest.raises(InputError, match=f"early_stopping must be True, False or 'never', found {early!r}"):
        BeamSettings.checked(4, 1.0, early)
