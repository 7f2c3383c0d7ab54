import csv
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from edgekit.bench.report import to_csv, to_json
from edgekit.bench.table import print_report, to_markdown
from edgekit.bench.text_benchmark import plan_text_benchmark, run_text_benchmark
from edgekit.bench.text_speed import TextBenchSettings
from edgekit.bench.variants import common_task
from edgekit.bundle.read import open_bundle
from edgekit.errors import InputError, ModelNotFoundError, UnsupportedError
from tests.bench.stand_in import stand_in_command
from tests.bundle.tiny_bundle import build_tiny_bundle
from tests.graph.causal_lm_checkpoints import make_llama
from tests.runtime.causal_lm_bundles import byte_level, sized, write_text_bundle

SETTINGS = TextBenchSettings(rounds=2, loads=1, context=48, stride=16, new_tokens=8, prompt_tokens=(16, 40))


@pytest.fixture(scope="module")
def mine(tmp_path_factory, prose):
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    path.write_text(prose.text, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def report(text_bundles, mine, tmp_path_factory):
    """The three precisions, measured in real processes."""
    done = []
    # Given in another order: fp32 is the baseline all the same.
    plan = plan_text_benchmark(text_bundles[::-1], [mine], SETTINGS)
    found = run_text_benchmark(plan, done.append)
    assert sum(done) == plan.steps
    return found


def test_losses_are_against_fp32(report):
    fp32, int4, int8 = sorted(report.results, key=lambda result: result.precision)
    assert fp32.perplexity_loss_percent is fp32.mean_kl is fp32.top1_agreement is None
    assert 0 < int8.mean_kl < int4.mean_kl
    assert int8.mean_kl < int8.p99_kl <= int8.max_kl
    assert int4.top1_agreement < int8.top1_agreement <= 1
    for result in (int8, int4):
        assert result.perplexity_loss_percent == pytest.approx(100 * (result.perplexity / fp32.perplexity - 1))
        low, high = result.perplexity_loss_percent_ci95
        assert low <= result.perplexity_loss_percent <= high
    assert fp32.perplexity_ci95[0] < fp32.perplexity < fp32.perplexity_ci95[1]
    assert (fp32.context, fp32.stride, fp32.threads, fp32.rounds) == (48, 16, 1, 2)
    assert int4.size_mb < int8.size_mb < fp32.size_mb


def test_speed_and_cost_are_measured(report):
    for result in report.results:
        assert set(result.prefill_tokens_per_second) == {"16", "40"}
        assert min(result.prefill_tokens_per_second.values()) > 0
        assert result.decode_tokens_per_second > 0
        assert result.lookup_tokens_per_second > 0
        assert (result.decode_prompt_tokens, result.decode_new_tokens) == (16, 8)
        assert result.first_token_ms > 0
        assert result.peak_rss_mb > 20
        low, high = result.spread["decode_tokens_per_second"]
        assert low <= result.decode_tokens_per_second <= high


def test_json_and_csv_hold_every_figure(report):
    values = json.loads(to_json(report))
    assert (values["schema_version"], values["task"]) == (1, "text-generation")
    assert values["texts"] == [
        {
            "name": "mine",
            "words": report.texts[0].words,
            "size_bytes": report.texts[0].size_bytes,
            "sha256": report.texts[0].sha256,
            "license": "the user's own",
        }
    ]
    assert [row["precision"] for row in values["results"]] == ["fp32", "int4", "int8"]
    assert values["results"][1]["mean_kl"] == pytest.approx(report.results[1].mean_kl, abs=1e-6)
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert float(rows[1]["prefill_tokens_per_second_16"]) > 0
    assert rows[0]["perplexity_loss_percent_ci95_low"] == ""
    assert float(rows[1]["perplexity_loss_percent_ci95_low"]) < float(rows[1]["perplexity_loss_percent_ci95_high"])


def test_tables_say_what_was_measured(report):
    text = io.StringIO()
    print_report(report, Console(file=text, width=1000, markup=False, highlight=False))
    lines = [line.strip() for line in text.getvalue().splitlines()]
    assert lines[0] == f"Quality: mine, {report.texts[0].words} words"
    assert next(line for line in lines if line.startswith("Speed")) == "Speed: tokens/s; threads: 1"
    header = next(line for line in lines if "prefill" in line)
    assert header.split() == ["prefill", "16", "prefill", "40", "decode", "with", "lookup", "first", "token", "ms"]
    assert next(line for line in lines if line.startswith("perplexity: ")) == (
        "perplexity: context 48, stride 16; intervals: bootstrap over windows, 1000 resamples, seed 12345"
    )
    assert "KL(fp32 || this) in nats a token" in text.getvalue()
    assert "decode: 8 tokens behind a prompt of 16; with lookup: the same text" in text.getvalue()
    assert "figures: median of 2 rounds (load, import: of 1)" in text.getvalue()
    assert f"text mine: the user's own, sha256 {report.texts[0].sha256[:16]}" in lines
    markdown = to_markdown(report)
    assert "| --- | ---: |" in markdown
    int4 = next(line for line in markdown.splitlines() if line.startswith("| tiny int4 | "))
    cells = [cell.strip() for cell in int4.split("|")]
    assert cells[5] == f"{report.results[1].mean_kl:.4f}"
    assert cells[7] == f"{100 * report.results[1].top1_agreement:.1f} %"


def test_fp32_of_a_quantised_source_says_so(report):
    results = [replace(result, source_quantization="Q4_1, Q8_0") for result in report.results]
    markdown = to_markdown(replace(report, results=tuple(results)))
    assert "| tiny fp32 (dequantised source) | " in markdown
    assert "| tiny int8 | " in markdown
    assert "tiny: weights from local tiny, quantised already: Q4_1, Q8_0" in markdown
    assert "dequantised" not in to_markdown(report)


def test_rounds_that_disagree_are_warned_of(text_bundles, mine, make_variant, quiet_machine):
    plan = plan_text_benchmark(text_bundles[:1], [mine], SETTINGS)
    wild = make_variant("wild", following_seconds={"16+": [1, 0.07, 0.14]})
    steady = make_variant("steady", following_seconds={"16+": [1, 0.07, 0.07]})
    for variant, expected in (
        (wild, ["tiny-fp32: rounds disagree by 67 % in decode_tokens_per_second (50 to 100)"]),
        (steady, []),
    ):
        found = run_text_benchmark(
            plan, command=lambda _, threads, v=variant: stand_in_command(v.bundle, threads), environment=quiet_machine
        )
        assert [warning for warning in found.warnings if "disagree" in warning] == expected


def test_models_of_other_weights_are_not_compared(tmp_path, text_bundles, mine):
    other = sized(make_llama(vocab_size=320, max_position_embeddings=160, rope_theta=100.0), 320)
    path = write_text_bundle(tmp_path / "other", other, byte_level())
    manifest = json.loads((path / "bundle.json").read_text(encoding="utf-8"))
    manifest["source"]["id"] = "another"
    (path / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    plan = plan_text_benchmark([text_bundles[0], path, text_bundles[1], text_bundles[0]], [mine], SETTINGS)
    assert [[variant.bundle.name for variant in group.variants] for group in plan.groups] == [
        ["tiny-fp32", "tiny-int8"],
        ["other"],
    ]
    assert [group.context_length for group in plan.groups] == [160, 160]


def test_what_cannot_be_measured_is_refused_before(tmp_path, text_bundles, mine):
    with pytest.raises(InputError, match="a benchmark needs at least one bundle or model, found none"):
        plan_text_benchmark([], [], SETTINGS)
    with pytest.raises(ModelNotFoundError, match="absent: expected a bundle, found nothing"):
        plan_text_benchmark([tmp_path / "absent"], [], SETTINGS)
    translator = build_tiny_bundle(tmp_path / "translator")
    with pytest.raises(
        UnsupportedError, match=r"translator: expected a bundle that generates text, found one for trans"
    ):
        plan_text_benchmark([translator], [], SETTINGS)
    with pytest.raises(
        InputError, match=r"of one task, found text-generation \(.*tiny-fp32\) and translation \(.*trans"
    ):
        common_task([text_bundles[0], translator])
    other = write_text_bundle(tmp_path / "other", sized(make_llama(vocab_size=320), 320, 64), byte_level())
    manifest = json.loads((other / "bundle.json").read_text(encoding="utf-8"))
    (other / "bundle.json").write_text(json.dumps(manifest | {"task": "translation"}), encoding="utf-8")
    with pytest.raises(UnsupportedError, match="found one for translation by a causal-lm model"):
        plan_text_benchmark([other], [], SETTINGS)
    short = write_text_bundle(tmp_path / "short", sized(make_llama(vocab_size=320), 320, 2), byte_level())
    with pytest.raises(UnsupportedError, match="short: expected a context of 3 tokens or more to measure, found 2"):
        plan_text_benchmark([short], [], SETTINGS)
    with pytest.raises(InputError, match='no text "nowhere"'):
        plan_text_benchmark(text_bundles, ["nowhere"], SETTINGS)
    (tmp_path / "mine.txt").write_text("Another text.")
    with pytest.raises(InputError, match="two texts are named mine: rename a file"):
        plan_text_benchmark(text_bundles, [mine, str(tmp_path / "mine.txt")], SETTINGS)


def test_limit_and_default_text(text_bundles):
    plan = plan_text_benchmark(text_bundles, [], replace(SETTINGS, limit=5))
    assert [text.name for text in plan.texts] == ["wikitext2-start"]
    assert plan.texts[0].text.count("\n") == 4
    assert open_bundle(text_bundles[0]).manifest.kind == "causal-lm"
