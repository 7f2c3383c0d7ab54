"""Which of a model's weights become what, and along which axis."""

import dataclasses

import numpy as np
import pytest

from edgekit.export.read_bergamot import read_bergamot
from edgekit.export.read_marian import read_marian
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph.tensors import QuantizedTensor
from edgekit.quantize.blockwise import BlockFormat, quantize_blockwise
from edgekit.quantize.scheme import Scheme
from edgekit.quantize.weights import quantize_weights
from tests.bergamot_fixture import make_student
from tests.graph.marian_checkpoints import make_marian, save_marian


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    model = make_marian(
        share_encoder_decoder_embeddings=False, decoder_vocab_size=140, tie_word_embeddings=False, encoder_layers=2
    )
    return read_marian(read_directory(save_marian(model, tmp_path_factory.mktemp("marian")), "tiny")).weights


def test_matrices_of_products_and_lookups_become_int8_and_nothing_else(marian):
    quantized = quantize_weights(marian)
    int8 = {name for name, tensor in quantized.items() if isinstance(tensor, QuantizedTensor)}
    assert int8 == {name for name, tensor in marian.items() if tensor.ndim == 2} - {"positions.weight"}
    assert all(quantized[name] is marian[name] for name in marian.keys() - int8)


def test_tables_have_a_scale_a_row_and_products_a_scale_an_output(marian):
    quantized = quantize_weights(marian)
    for name, size in (("source_embedding", 131), ("target_embedding", 140), ("output", 140)):
        tensor = quantized[f"{name}.weight"]
        assert (tensor.axis, tensor.scale.shape) == (0, (size,))
    tensor = quantized["encoder.layers.1.self_attention.qkv.weight"]
    assert (tensor.axis, tensor.shape, tensor.scale.shape) == (1, (16, 48), (48,))


def test_what_a_checkpoint_quantised_is_left_as_it_is(tmp_path):
    make_student(tmp_path, vocab=100, d=8, ffn=12, encoder_layers=1, decoder_layers=1, heads=2)
    weights = read_bergamot(read_directory(tmp_path, "tiny")).weights
    quantized = quantize_weights(weights)
    shipped = [name for name, tensor in weights.items() if isinstance(tensor, QuantizedTensor)]
    assert len(shipped) > 8
    assert all(quantized[name] is weights[name] for name in weights)


def test_quantising_twice_changes_nothing(marian):
    once = quantize_weights(marian)
    assert all(tensor is once[name] for name, tensor in quantize_weights(once).items())


def test_weights_given_are_not_changed(marian):
    before = {name: tensor.copy() for name, tensor in marian.items()}
    quantize_weights(marian)
    assert [name for name, tensor in marian.items() if not np.array_equal(tensor, before[name])] == []


def causal_weights():
    random = np.random.default_rng(0)
    shapes = {"embedding.weight": (50, 64), "layers.0.attention.qkv.weight": (64, 96), "final_norm.weight": (64,)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_matrices_of_a_scheme_with_blocks_become_blocks():
    weights = causal_weights()
    quantized = quantize_weights(weights, Scheme(BlockFormat(4, 32), (("embedding.*", BlockFormat(8, 16)),)))
    table, qkv = quantized["embedding.weight"], quantized["layers.0.attention.qkv.weight"]
    assert (table.bits, table.block_size, table.shape, table.axis) == (8, 16, (50, 64), 1)
    assert (qkv.bits, qkv.block_size, qkv.shape, qkv.axis) == (4, 32, (64, 96), 0)
    assert quantized["final_norm.weight"] is weights["final_norm.weight"]
    assert np.abs(qkv.dequantize() - weights["layers.0.attention.qkv.weight"]).max() < 0.5


def test_shipped_blocks_stay_where_their_bits_are_wanted():
    shipped = quantize_blockwise(causal_weights()["layers.0.attention.qkv.weight"], BlockFormat(4, 64))
    scheme = Scheme(BlockFormat(4, 32), (("b", BlockFormat(8, 32)), ("c", None)))
    quantized = quantize_weights({"a": shipped, "b": shipped, "c": shipped}, scheme)
    assert quantized["a"] is shipped
    assert (quantized["b"].bits, quantized["b"].block_size) == (8, 32)
    np.testing.assert_allclose(quantized["b"].dequantize(), shipped.dequantize(), atol=0.03)
    np.testing.assert_array_equal(quantized["c"], shipped.dequantize())


def test_four_bits_that_a_float_matrix_came_from_are_found_again():
    blocks = quantize_blockwise(
        causal_weights()["layers.0.attention.qkv.weight"], BlockFormat(4, 32, least_error=False)
    )
    quantized = quantize_weights({"a": blocks.dequantize()}, Scheme(BlockFormat(4, 32)))["a"]
    np.testing.assert_array_equal(quantized.values, blocks.values)
    assert quantize_weights({"a": blocks.dequantize()}, Scheme(BlockFormat(4, 64)))["a"].block_size == 64


def test_each_weight_is_read_once():
    class Lazy(dict):
        reads = 0

        def __getitem__(self, name):
            self.reads += 1
            return super().__getitem__(name)

    weights = Lazy(causal_weights())
    quantize_weights(weights, Scheme(BlockFormat(4, 32)))
    assert weights.reads == len(weights)


def test_offsets_of_shipped_blocks_go_into_zero_points():
    plain = quantize_blockwise(causal_weights()["layers.0.attention.qkv.weight"], BlockFormat(4, 32))
    shipped = dataclasses.replace(plain, offsets=3.25 * plain.scales)
    quantized = quantize_weights({"a": shipped}, Scheme(BlockFormat(4, 32)))["a"]
    np.testing.assert_array_equal(quantized.values, shipped.values)
    assert set(quantized.unpacked_zero_points().ravel()) == {5}
    np.testing.assert_allclose(quantized.offsets, 0.25 * plain.scales, rtol=1e-5)
