from dataclasses import replace

import pytest

from edgekit.bench.benchmark import BenchmarkPlan, Group, plan_benchmark, run_benchmark
from edgekit.bench.measure import BenchSettings
from edgekit.bundle.manifest import Quantization
from edgekit.bundle.read import open_bundle
from edgekit.bundle.write import stage_bundle, write_manifest
from edgekit.errors import InputError, ModelNotFoundError, UnsupportedError
from tests.bench.stand_in import stand_in_command
from tests.bundle.tiny_bundle import build_tiny_bundle, fill, tiny_manifest

SETTINGS = BenchSettings(rounds=3, latency_sentences=4, batched_sentences=6, loads=1, resamples=50)


def run(variants, testset, environment, settings=SETTINGS):
    plan = BenchmarkPlan((Group(tuple(variants), (testset,)),), settings)
    return run_benchmark(plan, command=stand_in_command, environment=environment)


def build_variant_bundle(path, **changes):
    with stage_bundle(path) as directory:
        fill(directory)
        write_manifest(directory, replace(tiny_manifest(), **changes))
    return path


def test_loss_is_against_the_fp32_variant(make_variant, testset, quiet_machine):
    perfect = dict(zip(testset.sources, testset.references, strict=True))
    broken = perfect | {testset.sources[0]: "", testset.sources[1]: ""}
    fp32, int8 = make_variant("marian-fp32", "fp32", reply=perfect), make_variant("marian-int8", reply=broken)
    first, second = run([fp32, int8], testset, quiet_machine).results
    assert first.chrf == pytest.approx(100)
    assert first.chrf_loss is first.chrf_loss_ci95 is first.bleu_loss is first.bleu_loss_ci95 is None
    assert second.chrf_loss == pytest.approx(first.chrf - second.chrf)
    assert second.chrf_loss > 1
    assert second.chrf_loss_ci95[0] <= second.chrf_loss <= second.chrf_loss_ci95[1]
    assert second.bleu_loss == pytest.approx(first.bleu - second.bleu)
    assert first.chrf_floor == second.chrf_floor
    assert 0 < first.chrf_floor < 50


def test_copying_model_scores_the_floor(make_variant, testset, quiet_machine):
    (result,) = run([make_variant(reply="source")], testset, quiet_machine).results
    assert (result.chrf, result.bleu) == (result.chrf_floor, result.bleu_floor)
    assert result.chrf_loss is None


def test_figures_are_medians_of_rounds_with_their_range(make_variant, testset, quiet_machine):
    # The first batched request is the warm-up's.
    variant = make_variant(seconds=[99, 0.36, 0.18, 0.72], latency_ms=[10, 20, 30, 40], peak=91_500_000)
    (result,) = run([variant], testset, quiet_machine).results
    assert result.words_per_second_batched == pytest.approx(36 / 0.36)
    assert result.spread["words_per_second_batched"] == pytest.approx((36 / 0.72, 36 / 0.18))
    assert result.latency_ms_p50 == 25
    assert result.words_per_second == pytest.approx(24 / 0.1)
    assert result.peak_rss_mb == 91.5
    assert result.size_mb == 12.3
    assert (result.load_ms, result.rounds, result.threads, result.sentences) == (10.0, 3, 1, 10)


def test_rounds_that_disagree_are_warned_of(make_variant, testset, quiet_machine):
    steady = run([make_variant("steady", seconds=[1])], testset, quiet_machine)
    assert not [warning for warning in steady.warnings if "disagree" in warning]
    report = run([make_variant("wild", seconds=[1, 0.36, 0.36, 0.72])], testset, quiet_machine)
    assert "wild.json on dogs: rounds disagree by 50 % in words_per_second_batched (50 to 100)" in report.warnings


def test_busy_machine_is_warned_of(make_variant, testset, quiet_machine):
    busy = replace(quiet_machine, background_cores_before=1.5)
    warnings = run([make_variant()], testset, busy).warnings
    # What really runs beside this test may be seen during the rounds, and goes before what was seen earlier.
    assert any(warning.startswith("other work used") for warning in warnings)


def test_bundles_of_one_model_are_compared_fp32_first(tmp_path):
    int8 = build_variant_bundle(tmp_path / "one", precision="int8", quantization=Quantization("int8"))
    fp32 = build_variant_bundle(tmp_path / "two")
    other = build_variant_bundle(tmp_path / "three", name="another")
    plan = plan_benchmark([int8, other, fp32, int8], ["flores-dev"], BenchSettings(limit=7))
    variants = [[(variant.model, variant.precision) for variant in group.variants] for group in plan.groups]
    assert variants == [[("tiny-en-de", "fp32"), ("tiny-en-de", "int8")], [("another", "fp32")]]
    assert [testset.name for testset in plan.groups[0].testsets] == ["flores-dev"]
    assert len(plan.groups[0].testsets[0]) == 7
    assert plan.groups[0].variants[0].size_bytes == open_bundle(fp32).size_bytes
    assert plan.groups[0].variants[0].source == "local tiny"
    assert plan.steps == 3 * (7 + 5 * (7 + 7))


@pytest.mark.parametrize(
    "change", [{"type": "embedded"}, {"id": "other"}, {"revision": "2"}, {"files": {"model.safetensors": "f" * 64}}]
)
def test_bundles_of_one_name_from_other_weights_are_not_compared(tmp_path, change):
    fp32 = build_tiny_bundle(tmp_path / "one")
    source = replace(tiny_manifest().source, **change)
    int8 = build_variant_bundle(tmp_path / "two", precision="int8", quantization=Quantization("int8"), source=source)
    plan = plan_benchmark([fp32, int8], ["flores-dev"], BenchSettings(limit=1))
    assert [[variant.bundle for variant in group.variants] for group in plan.groups] == [[fp32], [int8]]


def test_a_licence_does_not_make_other_weights(tmp_path):
    fp32 = build_tiny_bundle(tmp_path / "one")
    source = replace(tiny_manifest().source, license="other")
    other = build_variant_bundle(tmp_path / "two", source=source)
    assert len(plan_benchmark([fp32, other], ["flores-dev"], BenchSettings(limit=1)).groups) == 1


def test_all_packaged_sets_are_the_default(tmp_path):
    plan = plan_benchmark([build_tiny_bundle(tmp_path / "tiny")], [], BenchSettings())
    assert [(testset.name, len(testset)) for testset in plan.groups[0].testsets] == [
        ("flores-dev", 997),
        ("tatoeba", 2000),
    ]


def test_what_cannot_be_measured_is_refused_before(tmp_path):
    settings = BenchSettings()
    with pytest.raises(InputError, match=r"needs at least one bundle or model, found none"):
        plan_benchmark([], [], settings)
    with pytest.raises(ModelNotFoundError, match=r"absent: expected a bundle, found nothing"):
        plan_benchmark([tmp_path / "absent"], [], settings)
    languages = replace(tiny_manifest().languages, target="fr")
    french = build_variant_bundle(tmp_path / "french", languages=languages)
    with pytest.raises(InputError, match=r"no test set is packaged for en-fr; give your own .* --testset FILE.tsv"):
        plan_benchmark([french], [], settings)
    unknown = build_variant_bundle(tmp_path / "unknown", languages=replace(languages, source=None))
    with pytest.raises(InputError, match=r"no test set is packaged for \?-fr"):
        plan_benchmark([unknown], [], settings)
    other_task = build_variant_bundle(tmp_path / "other", task="summarisation")
    with pytest.raises(UnsupportedError, match=r"expected a bundle that translates, found one for summarisation"):
        plan_benchmark([other_task], [], settings)


def test_test_sets_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.tsv").write_text("x\ty\n")
    bundle = build_tiny_bundle(tmp_path / "tiny")
    files = [str(tmp_path / folder / "mine.tsv") for folder in ("a", "b")]
    with pytest.raises(InputError, match=r"two test sets are named mine: rename a file"):
        plan_benchmark([bundle], files, BenchSettings())
    assert plan_benchmark([bundle], [files[0], files[0]], BenchSettings()).groups[0].testsets[0].name == "mine"
