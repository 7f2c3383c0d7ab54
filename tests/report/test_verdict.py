from dataclasses import replace

from edgekit.report import reach_verdict
from tests.report.comparisons import comparison, fitting, model, pair


def small(quality=60.0, ms=10.0, memory=100.0, **given):
    return model("small int8", quality, ms, memory, **given)


def large(quality=60.0, ms=10.0, memory=100.0, **given):
    return model("large int4", quality, ms, memory, kind="causal-lm", **given)


def test_better_and_cheaper_wins_and_its_shares_are_computed():
    verdict = reach_verdict(comparison(small(69.2, 12.5, 140.0), large(4.1, 200.0, 1120.0), floors=[("copying", 1.0)]))
    assert verdict.headline == "small int8, the encoder–decoder, is the better buy."
    assert verdict.sentences == (
        "small int8 gives +65.1 chrF at 1/16 of the time and 1/8 of the memory of large int4; the difference is "
        "significant (p < 0.001; 95 % interval +64.1 to +66.1).",
    )


def test_the_order_of_the_models_changes_nothing():
    models = small(69.2, 12.5, 140.0), large(34.1, 200.0, 1120.0)
    assert reach_verdict(comparison(*models)) == reach_verdict(comparison(*reversed(models)))


def test_where_the_language_model_wins_it_says_so():
    verdict = reach_verdict(comparison(small(60.0, 40.0, 400.0), large(66.0, 20.0, 100.0)))
    assert verdict.headline == "large int4, the decoder-only model, is the better buy."
    assert verdict.sentences[0].startswith(
        "large int4 gives +6.0 chrF at half of the time and 1/4 of the memory of small"
    )


def test_better_but_dearer_is_a_trade_off_and_names_both_sides():
    verdict = reach_verdict(comparison(small(60.0, 10.0, 100.0), large(63.0, 30.0, 250.0)))
    assert verdict.headline == "It depends on what counts: large int4 is better, small int8 is cheaper."
    assert verdict.sentences == (
        "large int4 gives +3.0 chrF (p < 0.001; 95 % interval +2.0 to +4.0); small int8 takes 1/3 of the time and 40 % "
        "of the memory of large int4.",
    )


def test_better_and_cheaper_in_one_cost_only_is_a_trade_off():
    verdict = reach_verdict(comparison(small(60.0, 10.0, 100.0), large(63.0, 5.0, 250.0)))
    assert verdict.headline == "It depends on what counts: large int4 is better, small int8 is cheaper in memory."
    assert "at half of the time, but 2.5 times the memory of small int8" in verdict.sentences[0]


def test_a_difference_within_its_interval_is_not_decided():
    verdict = reach_verdict(comparison(small(60.0, 10.0, 100.0), large(60.3, 40.0, 800.0)))
    assert verdict.headline == "small int8, the encoder–decoder, is cheaper; that large int4 is better can't be shown."
    assert verdict.sentences == (
        "small int8 takes 1/4 of the time and 1/8 of the memory of large int4; which is better can't be told: "
        "small int8 is between 1.3 chrF worse and 0.7 better (95 %, p = 0.4).",
    )


def test_a_p_value_above_005_is_not_significant_though_the_interval_leaves_out_0():
    one, other = small(62.0), large(60.0)
    verdict = reach_verdict(comparison(one, other, pairs=[pair(one, other, p_value=0.06)]))
    assert "+1.0 to +3.0 chrF (95 %, p = 0.06)" in verdict.sentences[0]
    assert "significant" not in verdict.sentences[0]


def test_undecided_quality_and_mixed_costs():
    verdict = reach_verdict(comparison(small(60.0, 10.0, 300.0), large(60.0, 40.0, 100.0)))
    names = "small int8 and large int4"
    assert (
        verdict.headline
        == f"It depends on what counts: {names} each save something, and neither is shown to be better."
    )
    assert verdict.sentences[0].startswith(
        "small int8 takes 1/4 of the time, but 3 times the memory of large int4; which"
    )


def test_a_tie_in_everything_tells_nothing_apart():
    verdict = reach_verdict(comparison(small(60.0, 10.0, 100.0), large(60.2, 10.1, 101.0)))
    assert verdict.headline == "These figures don't tell small int8 and large int4 apart."
    assert verdict.sentences[0].startswith(
        "small int8 and large int4 can't be told apart by their costs; which is better"
    )


def test_equal_outputs_score_the_same():
    one, other = small(60.0, 10.0), large(60.0, 30.0, 200.0)
    verdict = reach_verdict(comparison(one, other, pairs=[pair(one, other, half_width=0.0, p_value=1.0)]))
    assert verdict.sentences[0].endswith("of large int4; their outputs score the same.")


def test_noisy_times_are_not_decided():
    verdict = reach_verdict(comparison(small(66.0, 10.0, spread=0.3), large(60.0, 12.0, 100.0, spread=0.3)))
    assert verdict.headline == "small int8, the encoder–decoder, is the better buy."
    assert verdict.sentences[0].endswith("In time and memory they don't differ beyond the intervals.")


def test_a_missing_memory_is_said_and_not_made_up():
    one = small(66.0, 10.0)
    one = replace(one, memory=replace(one.memory, peak_mb=None, peak_single_mb=None))
    verdict = reach_verdict(comparison(one, large(60.0, 30.0)))
    assert "at 1/3 of the time of large int4" in verdict.sentences[0]
    assert verdict.sentences[0].endswith("Their memory can't be compared: not measured for both.")


def test_a_missing_ratio_of_times_is_said():
    one, other = small(66.0, 10.0, 50.0), large(60.0, 30.0, 100.0)
    verdict = reach_verdict(comparison(one, other, pairs=[pair(one, other, without=("latency_ms_p50",))]))
    assert "+6.0 chrF at half of the memory of large int4" in verdict.sentences[0]
    assert verdict.sentences[0].endswith("Their time can't be compared: not measured for both.")


def test_a_missing_pair_leaves_quality_open():
    verdict = reach_verdict(comparison(small(66.0, 10.0, 50.0), large(60.0, 30.0), pairs=[]))
    assert verdict.headline == "small int8 and large int4: their quality wasn't compared."
    assert verdict.sentences[0].startswith(
        "small int8 takes half of the memory of large int4: which of them is better wasn't"
    )


def test_a_price_is_weighed_too():
    verdict = reach_verdict(comparison(small(66.0, 10.0, price=0.2), large(60.0, 30.0, 100.0, price=2.0)))
    assert "at 1/3 of the time and 1/10 of the price of large int4" in verdict.sentences[0]


def test_a_model_that_does_no_better_than_copying_is_named():
    verdict = reach_verdict(comparison(small(60.0), large(20.5, 30.0)))
    assert (
        verdict.lead[1] == "large int4 (20.5) is not clearly above copying the input (20.0 chrF), which needs no model."
    )


def test_models_that_all_fail_the_task_have_no_winner():
    verdict = reach_verdict(comparison(small(20.9), large(15.0, 30.0)))
    assert verdict.headline == (
        "None of these models does the task: none is clearly better than copying the input and empty output."
    )


def test_a_cheaper_model_that_fails_the_task_is_no_bargain():
    verdict = reach_verdict(comparison(small(60.0, 40.0, 400.0), large(19.0, 10.0, 100.0)))
    assert verdict.headline == (
        "Only small int8, the encoder–decoder, does the task: large int4 is not clearly better than no model."
    )


def test_only_one_model_within_the_limits_decides():
    verdict = reach_verdict(comparison(fitting(small(60.0), True), fitting(large(70.0, 30.0), False)))
    assert verdict.headline == "Only small int8, the encoder–decoder, runs within 512 MB and on 1 core."
    assert verdict.lead[1:] == (
        "small int8 (13.5 ms) runs within 512 MB and on 1 core.",
        "large int4 does not run within 512 MB and on 1 core: it was killed while loading.",
    )


def test_more_models_are_set_beside_the_winner_and_on_the_front():
    fp32 = model("small fp32", 60.2, 20.0, 300.0)
    verdict = reach_verdict(comparison(fp32, small(60.0), large(40.0, 30.0, 500.0)))
    assert verdict.headline == "small int8, the encoder–decoder, is the better buy."
    assert verdict.further == (
        "small int8 takes half of the time and 1/3 of the memory of small fp32; which is better can't be told: "
        "small int8 is between 1.2 chrF worse and 0.8 better (95 %, p = 0.4).",
        "Of chrF against time, small int8 is on the front; large int4 is behind the front; "
        "small fp32 is too close to call.",
    )


def test_two_models_of_one_kind_are_compared_without_naming_it():
    verdict = reach_verdict(comparison(small(60.0), model("small fp32", 60.2, 20.0, 300.0)))
    assert verdict.headline == "small int8 is cheaper; that small fp32 is better can't be shown."


def test_a_model_alone_is_compared_with_nothing():
    verdict = reach_verdict(comparison(small(60.0)))
    assert (verdict.headline, verdict.relation) == (
        "small int8 was measured alone: there's nothing to compare it with.",
        None,
    )


def test_a_further_model_is_set_beside_the_one_that_beats_it_in_everything():
    models = small(60.0), large(66.0, 300.0, 900.0), model("older int8", 55.0, 20.0, 200.0)
    verdict = reach_verdict(comparison(*models))
    assert verdict.headline == "It depends on what counts: large int4 is better, small int8 is cheaper."
    assert verdict.further[0].startswith(
        "small int8 gives +5.0 chrF at half of the time and half of the memory of older"
    )


def test_a_further_model_that_nobody_beats_is_set_beside_its_kind():
    models = small(60.0), large(66.0, 300.0, 900.0), model("cheap int8", 55.0, 5.0, 100.0)
    verdict = reach_verdict(comparison(*models))
    assert "cheap int8 takes half of the time of small int8" in verdict.further[0]
