"""u8 x s8 products on x86 without VNNI, emulated: they would saturate on a real model, and unsigned weights would not.

AVX2 multiplies with vpmaddubsw: pairs of neighbouring u8 x s8 products are added in 16 bits with saturation. Weights
made unsigned go through vpmaddwd instead, whose pairs are added in 32 bits (onnxruntime, avx2_weight_s8_to_u8.cc).
"""

import numpy as np
import pytest

from edgekit.export.read_marian import read_marian
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph import reference
from edgekit.graph.reference_products import ReferenceProducts, round_activations
from edgekit.graph.tensors import QuantizedTensor
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.migration import migrate
from edgekit.quantize.scheme import named_scheme
from edgekit.quantize.weights import quantize_weights
from edgekit.recipes import embedded_dir
from edgekit.runtime import load, session

ZERO_POINT = 128
INT16 = np.iinfo(np.int16)


def vpmaddubsw_product(activations, weights):
    """``uint8 [m, k] @ int8 [k, n]`` with pairs added in saturating 16 bits, sums of pairs in 32."""
    products = activations[:, :, None].astype(np.int32) * weights[None].astype(np.int32)
    pairs = products[:, 0::2] + products[:, 1::2]
    return pairs.clip(INT16.min, INT16.max).sum(axis=1, dtype=np.int32), int((pairs != pairs.astype(np.int16)).sum())


def unsigned_product(activations, weights):
    """The same product as ``u8 x u8``: weights and their zero point 128 higher, everything in 32 bits."""
    raised = (weights.astype(np.int16) + ZERO_POINT).astype(np.uint8)
    product = activations.astype(np.int32) @ raised.astype(np.int32)
    return product - ZERO_POINT * activations.sum(axis=1, dtype=np.int32, keepdims=True)


class Recorder(ReferenceProducts):
    """Keeps the quantised activations and weights of every integer product."""

    found: dict

    def linear(self, x, layer, name=None, *, transposed=False, in_float=False):
        weight = self._weights[name or f"{layer}.weight"]
        if isinstance(weight, QuantizedTensor):
            quantized = round_activations(x, self._activation_scale(x, layer))
            matrix = weight.values.T if transposed else weight.values
            self.found[layer] = ((quantized + ZERO_POINT).astype(np.uint8), matrix)
        return super().linear(x, layer, name, transposed=transposed, in_float=in_float)


@pytest.fixture(scope="module", params=["int8-dynamic", "int8-static", "int8-smooth"])
def products(request, embedded_fp32, embedded_int8):
    """Activations and weights of every integer product, for the sentence of the bundle's self-check."""
    model = read_marian(read_directory(embedded_dir("marian-en-de"), "marian-en-de"))
    recorded = load(embedded_int8).manifest.self_check
    target = np.array([model.generation.start_token_id, *recorded.output_ids])
    scheme = named_scheme("seq2seq", request.param)
    calibration = calibrate(embedded_fp32, ["The weather is fine today."]) if scheme.needs_calibration else None
    weights, calibration = migrate(model.config, model.weights, scheme, calibration)
    Recorder.found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "ReferenceProducts", Recorder)
        calculation = reference.Reference(model.config, quantize_weights(weights, scheme, calibration), "int8")
    calculation.logits(np.array(recorded.input_ids), target)
    return Recorder.found


def test_hand_worked_products():
    activations = np.array([[255, 255, 255, 1]], np.uint8)
    weights = np.array([[127, -127], [127, -127], [1, 1], [1, 1]], np.int8)
    # 2 * 255 * 127 = 64770 is cut to 32767, and -64770 to -32768.
    assert vpmaddubsw_product(activations, weights)[0].tolist() == [[32767 + 256, -32768 + 256]]
    assert vpmaddubsw_product(activations, weights)[1] == 2
    assert unsigned_product(activations, weights).tolist() == [[64770 + 256, -64770 + 256]]


def test_a_real_model_would_saturate(products):
    saturated = {layer: vpmaddubsw_product(*product)[1] for layer, product in products.items() if layer != "output"}
    assert len(saturated) == 6 * 4 + 2 * 7
    assert sum(count > 0 for count in saturated.values()) > 5


def test_saturation_would_change_results_by_more_than_rounding(products):
    worst = 0.0
    for layer, (activations, weights) in products.items():
        if layer == "output":
            continue
        exact = (activations.astype(np.int32) - ZERO_POINT) @ weights.astype(np.int32)
        found = vpmaddubsw_product(activations, weights)[0] - ZERO_POINT * weights.sum(axis=0, dtype=np.int32)
        worst = max(worst, np.abs(found - exact).max() / exact.std())
    assert worst > 0.5


def test_unsigned_weights_give_the_exact_product(products):
    for activations, weights in products.values():
        exact = activations.astype(np.int64) @ weights.astype(np.int64)
        np.testing.assert_array_equal(unsigned_product(activations, weights), exact)


def test_pairs_of_four_bit_weights_never_saturate():
    """Whatever the zero point: the unsigned side is the weight, 15 at most, the signed one the input."""
    activations, weights = np.full((1, 8), 127, np.int8), np.full((8, 1), 15, np.uint8)
    assert vpmaddubsw_product(weights.T, activations.T) == (np.array([[8 * 15 * 127]]), 0)


def test_the_largest_products_fit_32_bits():
    """The longest sums of published models have 4096 terms."""
    activations, weights = np.full((1, 4096), 255, np.uint8), np.full((4096, 1), 127, np.int8)
    assert unsigned_product(activations, weights).tolist() == [[4096 * 255 * 127]]
    assert np.iinfo(np.int32).max > 4096 * 255 * 255


@pytest.mark.parametrize("saturates", [True, False])
def test_onnxruntime_translates_the_same_with_unsigned_weights(saturates, embedded_int8, monkeypatch):
    texts = ["Good morning!", "Where is the nearest pharmacy?", "The answer was wrong, but nobody listened to her."]
    usual = load(embedded_int8).translate(texts)
    monkeypatch.setattr(session, "products_saturate", lambda: saturates)
    assert load(embedded_int8).translate(texts) == usual
