"""Which of a model's weights become int8, and along which axis."""

import numpy as np
import pytest

from edgekit.export.read_bergamot import read_bergamot
from edgekit.export.read_marian import read_marian
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph.tensors import QuantizedTensor
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
