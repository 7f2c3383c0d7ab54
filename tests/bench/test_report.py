import csv
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from edgekit.bench.benchmark import BenchmarkPlan, Group, run_benchmark
from edgekit.bench.measure import BenchSettings
from edgekit.bench.report import to_csv, to_json
from edgekit.bench.table import print_report, to_markdown
from tests.bench.stand_in import stand_in_command

PROMISED = {
    "model", "precision", "chrf", "bleu", "chrf_loss", "chrf_loss_ci95", "latency_ms_p50", "latency_ms_p95",
    "words_per_second", "words_per_second_batched", "load_ms", "peak_rss_mb", "size_mb",
}  # fmt: skip
ADDED = {
    "bundle", "source", "languages", "testset", "sentences", "bleu_loss", "bleu_loss_ci95", "chrf_floor", "bleu_floor",
    "signatures", "import_ms", "first_translation_ms", "threads", "rounds", "spread",
}  # fmt: skip


@pytest.fixture
def report(make_variant, testset, quiet_machine):
    translations = dict(zip(testset.sources, testset.references, strict=True))
    variants = (
        make_variant("marian-fp32", "fp32", reply=translations, latency_ms=[20]),
        make_variant("marian-int8", "int8", reply=translations | {testset.sources[0]: "Hund"}, latency_ms=[5, 6]),
    )
    settings = BenchSettings(rounds=2, loads=1, resamples=20, threads=1)
    return run_benchmark(
        BenchmarkPlan((Group(variants, (testset,)),), settings), lambda _: None, stand_in_command, quiet_machine
    )


def test_json_holds_the_promised_keys(report):
    values = json.loads(to_json(report))
    assert list(values) == ["schema_version", "task", "environment", "settings", "testsets", "results", "warnings"]
    assert (values["schema_version"], values["task"]) == (1, "translation")
    assert all(set(result) == PROMISED | ADDED for result in values["results"])
    assert {"cpu", "isa_flags", "threads", "versions", "load_average_1m", "background_cores_during"} <= set(
        values["environment"]
    )
    assert 0 < values["environment"]["probe_ms"] < 1000
    assert values["testsets"] == [
        {"name": "dogs", "languages": "en-de", "sentences": 10, "sha256": "ab" * 32, "license": "CC0 1.0"}
    ]
    assert values["settings"]["rounds"] == 2


def test_json_values_of_the_two_variants(report):
    fp32, int8 = json.loads(to_json(report))["results"]
    assert (fp32["model"], fp32["precision"], fp32["testset"]) == ("marian", "fp32", "dogs")
    assert (fp32["chrf"], fp32["chrf_loss"], fp32["chrf_loss_ci95"]) == (100.0, None, None)
    assert int8["chrf_loss"] == pytest.approx(100 - int8["chrf"], abs=0.002)
    assert len(int8["chrf_loss_ci95"]) == 2
    assert fp32["latency_ms_p50"] == 20
    assert fp32["spread"]["latency_ms_p50"] == [20, 20]
    assert int8["signatures"]["chrf"].startswith("nrefs:1|case:mixed")


def test_csv_has_a_line_a_result_and_single_values(report):
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert [row["precision"] for row in rows] == ["fp32", "int8"]
    assert rows[0]["chrf_loss_ci95_low"] == ""
    assert float(rows[1]["chrf_loss_ci95_low"]) <= float(rows[1]["chrf_loss"]) <= float(rows[1]["chrf_loss_ci95_high"])
    assert rows[1]["spread_latency_ms_p50_low"] == rows[1]["latency_ms_p50"]
    assert "signatures_bleu" in rows[0]
    assert all(None not in row and None not in row.values() for row in rows)


def test_markdown_tables_have_as_many_cells_in_each_row(report):
    lines = to_markdown(report).splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 2
    assert any(line.startswith("| marian fp32 | 100.00 | - |") for line in lines)
    assert "**Quality: en-de, dogs, 10 sentences**" in lines


def printed(report, encoding="utf-8", **options):
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    print_report(report, Console(file=output, **options))
    output.flush()
    return output.buffer.getvalue().decode(encoding)


def test_terminal_gets_tables_of_eighty_columns(report):
    text = printed(report, force_terminal=True, width=80, no_color=True)
    assert "─" in text
    rows = [line for line in text.splitlines() if "marian int8" in line]
    assert len(rows) >= 3
    assert all("…" not in line for line in rows)


def test_pipe_gets_plain_rows(report):
    text = printed(report, force_terminal=False, width=1000)
    assert "─" not in text
    assert "\x1b" not in text
    row = next(line for line in text.splitlines() if line.startswith("marian fp32"))
    assert row.split() == ["marian", "fp32", "100.00", "-", "100.00", "-"]
    assert "p50 ms" in text
    assert "20.0 ±0%" in text
    assert "Test CPU (avx2 avx512_vnni), 4 cores usable, 8.0 GB, Linux 6, governor performance" in text
    assert "chrf: nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:" in text
    assert "marian: weights from embedded marian" in text
    assert "(copying the source)" in text


def test_bundles_alike_in_model_and_precision_are_named(report):
    second = replace(report.results[1], bundle="other.json")
    text = printed(replace(report, results=(*report.results, second)), width=200)
    assert {line.split("  ")[0] for line in text.splitlines() if line.startswith("marian ")} == {
        "marian fp32",
        "marian int8 (marian-int8.json)",
        "marian int8 (other.json)",
    }


def test_warnings_are_printed(report):
    assert "warning: the fan is loud\n" in printed(replace(report, warnings=("the fan is loud",)), width=200)


def test_output_without_unicode_gets_ascii(report):
    assert "20.0 +-0%" in printed(report, encoding="ascii", force_terminal=False, width=200)
