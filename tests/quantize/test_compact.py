"""Blocks in fewer bytes: what is rounded, what is stored, and a bundle that calculates with just these numbers."""

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.bundle.read import open_bundle, verify_bundle
from edgekit.export import export
from edgekit.gate.forced import FloatModel, ForcedText, changes_of, weights_of
from edgekit.graph.tensors import BlockQuantizedTensor, pack_values
from edgekit.graph.weights_file import arrays_of, save_weights, stored_tensors
from edgekit.quantize.bundle import quantize_bundle
from edgekit.quantize.compact import compact_blocks, round_to_half
from edgekit.quantize.scheme import named_scheme
from tests.export.causal_lm_directories import make_model, save_checkpoint


def blocks(scales, offsets, zero_points=None):
    """One row; q is 0, 1, 2 ... 15 in each block of 16."""
    values = np.broadcast_to(np.arange(16, dtype=np.uint8), (1, len(scales), 16))
    packed = None if zero_points is None else pack_values(np.array([zero_points], np.uint8), 4)
    return BlockQuantizedTensor(
        pack_values(values, 4), np.float32([scales]), 16 * len(scales), 4, 0, packed, np.float32([offsets])
    )


def test_offsets_become_blocks_behind_the_values():
    """Offsets of -3 to 12 eighths are sixteen levels of a block, so nothing is rounded; zero points stay."""
    offsets = np.arange(-3, 13) / 8
    tensor = blocks([1.0] * 16, offsets, [3, 8] * 8)
    found = compact_blocks(tensor)
    assert isinstance(found.offsets, BlockQuantizedTensor)
    assert (found.offsets.scales.tolist(), found.offsets.unpacked_zero_points().tolist()) == ([[0.125]], [[3]])
    assert found.offsets.unpacked_values()[0, 0].tolist() == list(range(16))
    assert found.unpacked_zero_points().tolist() == [[3, 8] * 8]
    np.testing.assert_array_equal(found.dequantize(), tensor.dequantize())


def test_offsets_far_beyond_a_block_stay_as_they_are():
    """A row with the offsets 99.77 and 0.3 would have levels of 6.65."""
    tensor = blocks([0.1, 2], [99.77, 0.3], [0, 8])
    found = compact_blocks(tensor)
    np.testing.assert_array_equal(found.offsets, tensor.offsets)
    assert found.scales.tolist() == [[float(np.float32(np.float16(0.1))), 2.0]]
    assert found.unpacked_zero_points().tolist() == [[0, 8]]


@pytest.mark.parametrize("zero_points", [None, [3, 4, 15]])
def test_a_block_without_steps_becomes_one_step_of_its_value(zero_points):
    """Its offset, a thousand times the other's, would leave that one no level."""
    found = compact_blocks(blocks([0.0, 1.0, 0.0], [350.0, 0.25, 0.0], zero_points))
    np.testing.assert_allclose(found.unpacked_offsets(), [[0, 0.25, 0]], rtol=1e-3)
    assert found.scales.tolist() == [[350, 1, 0]]
    assert found.dequantize()[:, 0].reshape(3, 16)[[0, 2]].tolist() == [[350.0] * 16, [0.0] * 16]


def test_a_large_flat_block_excuses_no_other():
    """The middle block's offset would be off by more than a step."""
    tensor = blocks([0.0, 0.01, 0.01], [350.0, 20.0, 0.005])
    np.testing.assert_array_equal(compact_blocks(tensor).offsets, tensor.offsets)


def test_the_offsets_of_a_table_stay_floats():
    table = dataclasses.replace(blocks([0.5, 0.1], [0.25, 0.05]), axis=1)
    found = compact_blocks(table)
    np.testing.assert_array_equal(found.offsets, table.offsets)
    assert found.scales.tolist() == [[0.5, float(np.float32(np.float16(0.1)))]]


def test_scales_beyond_half_precision_stay():
    assert round_to_half(np.float32([1e6, 0.1, -3])).tolist() == [1e6, float(np.float32(np.float16(0.1))), -3.0]


def test_values_are_off_by_a_thirtieth_of_a_step():
    random = np.random.default_rng(0)
    scales = np.float32(np.float16(random.uniform(0.5, 1, 50)))
    tensor = blocks(scales, scales * random.uniform(-0.5, 0.5, 50), random.integers(4, 12, 50))
    found = compact_blocks(tensor)
    off = np.abs(found.dequantize() - tensor.dequantize()).reshape(50, 16).max(axis=1)
    # A level is a fifteenth of a range of at most one of the longest steps; a search may clip the ends of the range.
    assert np.median(off) <= 1 / 30
    assert 1 / 100 < off.max() < 1 / 8


@pytest.mark.parametrize(("scale", "stored"), [(0.5, "float16"), (0.1, "float32"), (0.0, "float16"), (1e6, "float32")])
def test_scales_are_stored_in_as_few_bytes_as_lose_nothing(scale, stored, tmp_path):
    tensor = blocks([scale], [0.17])
    arrays = arrays_of({"w.weight": tensor})
    assert (arrays["w.weight_scale"].dtype, arrays["w.weight_offset"].dtype) == (stored, "float32")
    save_weights(tmp_path, {"w.weight": tensor})
    entries = stored_tensors(tmp_path)
    assert (entries["w.weight_scale"].dtype, entries["w.weight_offset"].dtype) == (stored, "float32")


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    """A model whose matrices were Q4_1 once."""
    import torch

    # Eight blocks a row: of few, a block of offsets would be larger than the floats.
    model = make_model("llama", hidden_size=256, intermediate_size=512)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "proj" in name and weight.shape[1] % 32 == 0:
                grid = torch.randint(0, 16, (*weight.shape[:1], weight.shape[1] // 32, 32), generator=random)
                grid[..., 0], grid[..., 1] = 0, 15
                step = (torch.rand(grid.shape[:2], generator=random) * 0.01 + 0.01).half().float()[..., None]
                least = (step * (torch.rand(step.shape, generator=random) * 2 - 8.5)).half().float()
                weight.copy_((grid * step + least).reshape(weight.shape))
    checkpoint = save_checkpoint(tmp_path_factory.mktemp("q4_1") / "tiny", model)
    return export(str(checkpoint), "fp32", tmp_path_factory.mktemp("fp32") / "bundle")


@pytest.fixture(scope="module")
def bundles(fp32, tmp_path_factory):
    directory = tmp_path_factory.mktemp("bundles")
    return {
        name: quantize_bundle(fp32, output=directory / name, scheme=named_scheme("causal-lm", name))
        for name in ("int8", "int4", "int4-compact")
    }


def test_a_compact_bundle_is_small_and_near_the_lossless_one(fp32, bundles):
    sizes = {name: (path / "weights.safetensors").stat().st_size for name, path in bundles.items()}
    assert sizes["int4-compact"] < 0.95 * sizes["int4"] < 0.8 * sizes["int8"]
    verify_bundle(bundles["int4-compact"])
    ids = list(range(40, 60))
    exact = edgekit.load(fp32).logits(ids)
    off = {name: np.std(edgekit.load(path).logits(ids) - exact) / exact.std() for name, path in bundles.items()}
    assert max(off.values()) < 0.1
    assert off["int4-compact"] < 1.4 * off["int4"]


def test_the_offsets_are_in_the_product_of_the_values(bundles):
    tensors = open_bundle(bundles["int4-compact"]).manifest.quantization.tensors
    stored = stored_tensors(bundles["int4-compact"])
    folded = [name for name, entry in tensors.items() if entry.offset]
    assert folded
    for name in folded:
        assert (tensors[name].offset, stored[tensors[name].scale].dtype) == (name, "float16")
    assert stored[tensors["embedding.weight"].scale].dtype == "float16"
    names = {name: {node.op_type for node in ir.load(path / "model.onnx").graph} for name, path in bundles.items()}
    assert "Gemm" in names["int4"]
    assert "Gemm" not in names["int4-compact"]


def test_weights_read_back_make_the_same_graph(fp32, bundles):
    """As `edgekit inspect` does it: the bundle's tensors in the place of the fp32 bundle's."""
    ids = list(range(40, 60))
    model = FloatModel.read(open_bundle(fp32))
    changes = changes_of(weights_of(open_bundle(bundles["int4-compact"])), model)
    assert any(isinstance(tensor.offsets, BlockQuantizedTensor) for tensor in changes.values())
    expected = edgekit.load(bundles["int4-compact"]).logits(ids)
    np.testing.assert_allclose(ForcedText(model).logits(ids, changes, "int4"), expected, atol=1e-5)
