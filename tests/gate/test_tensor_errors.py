"""`edgekit inspect --error`: a bundle tensor by tensor."""

import json
import math

import numpy as np
import pytest

from edgekit.bundle.read import open_bundle
from edgekit.errors import InputError
from edgekit.gate.forced import weights_of
from edgekit.gate.tensor_errors import measure_errors
from edgekit.quantize.bundle import quantize_bundle
from tests.cli.command import assert_fails, edgekit_here
from tests.runtime.causal_lm_bundles import TEXTS, byte_level, write_text_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama_case):
    """A decoder-only model with random weights in fp32 and int4, and a text."""
    directory = tmp_path_factory.mktemp("tiny")
    write_text_bundle(directory / "tiny-fp32", llama_case, byte_level())
    quantize_bundle(directory / "tiny-fp32", "int4", directory / "tiny-int4")
    (directory / "mine.txt").write_text("\n".join(TEXTS * 4), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def report(tiny):
    return measure_errors(tiny / "tiny-int4", tiny / "tiny-fp32", str(tiny / "mine.txt"))


def test_every_quantised_tensor_is_there_with_its_scheme_and_error(tiny, report):
    entries = open_bundle(tiny / "tiny-int4").manifest.quantization.tensors
    assert {tensor.name for tensor in report.tensors} == set(entries)
    fp32, int4 = (weights_of(open_bundle(tiny / name)) for name in ("tiny-fp32", "tiny-int4"))
    down = next(tensor for tensor in report.tensors if tensor.name == "layers.0.feed_forward.down.weight")
    assert down.scheme.startswith("uint4 per-block of 32, zero points")
    weights = fp32[down.name].astype(np.float64)
    noise = np.square(weights - int4[down.name].dequantize()).sum()
    assert down.snr_db == pytest.approx(10 * math.log10(np.square(weights).sum() / noise))
    # 4 bits, a float a block of 32 and half a byte; the last block of a row may be padding in part.
    blocks = -(-down.shape[0] // 32)
    stored = blocks * (16 + 4) + -(-blocks // 2)
    assert down.bits_per_weight == pytest.approx(8 * stored / down.shape[0])


def test_coarser_tensors_cost_more_and_shares_of_time_are_shares(report):
    assert all(tensor.output_kl > 0 for tensor in report.tensors)
    assert [tensor.output_kl for tensor in report.tensors] == sorted(
        (tensor.output_kl for tensor in report.tensors), reverse=True
    )
    assert report.together_kl > report.tensors[-1].output_kl
    assert all(tensor.time_share > 0 for tensor in report.tensors)
    assert sum(tensor.time_share for tensor in report.tensors) < 1
    assert report.micros > 0


def test_the_command_prints_a_table_or_json_and_finds_the_fp32_bundle_beside(tiny):
    done = edgekit_here("inspect", tiny / "tiny-int4", "--error", "--dev", tiny / "mine.txt")
    assert done.returncode == 0, done.stderr
    header, first = done.stdout.splitlines()[:2]
    assert header.split() == ["tensor", "stored", "as", "shape", "bits/weight", "SNR", "dB", "output", "KL", "time"]
    assert first.endswith(" %")
    assert "profiled here. fp32: " in done.stdout
    done = edgekit_here("inspect", tiny / "tiny-int4", "--error", "--dev", tiny / "mine.txt", "--json")
    content = json.loads(done.stdout)
    assert (content["schema_version"], content["text"]) == (1, "mine")
    assert set(content["tensors"][0]) == {
        "name", "scheme", "shape", "bits_per_weight", "snr_db", "output_kl", "time_share",
    }  # fmt: skip


def test_what_is_no_pair_is_refused(tiny, embedded_fp32, embedded_int8, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="tiny-fp32 is fp32 itself; its errors would all be nothing"):
        measure_errors(tiny / "tiny-fp32", tiny / "tiny-fp32")
    done = edgekit_here("inspect", embedded_int8, "--error", "--against", tiny / "tiny-int4")
    assert_fails(done, 1, "tiny-int4 is int4; --against takes the fp32 bundle of the same model")
    done = edgekit_here("inspect", tiny / "tiny-int4", "--error", "--against", embedded_fp32)
    assert_fails(done, 1, "export both from the same files")
    done = edgekit_here("inspect", embedded_int8, "--error")
    assert_fails(
        done, 1, "--error compares with the fp32 bundle, and there is no marian-en-de-fp32 beside", "--against"
    )
    done = edgekit_here("inspect", embedded_int8, "--dev", "valid")
    assert_fails(done, 1, "--against and --dev belong to --error; give it, too, or leave them out")


def test_a_translation_model_is_measured_along_its_own_translations(embedded_fp32, embedded_int8, tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text("Good morning!\tGuten Morgen!\nI am tired.\tIch bin müde.\n", encoding="utf-8")
    report = measure_errors(embedded_int8, embedded_fp32, str(path))
    assert {tensor.scheme for tensor in report.tensors} == {"int8 per-channel, activations per-row"}
    by_name = {tensor.name: tensor for tensor in report.tensors}
    # The output layer is the embedding: by far the largest product.
    assert max(by_name, key=lambda name: by_name[name].time_share) == "source_embedding.weight"
    assert 35 < by_name["decoder.layers.0.feed_forward.up.weight"].snr_db < 50
    assert 0 < report.together_kl < 0.05
