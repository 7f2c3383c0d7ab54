"""Blocks in fewer bytes: what is rounded, what is stored, and a bundle that calculates with just these numbers."""

import numpy as np
import pytest

import edgekit
from edgekit.bundle.read import open_bundle, verify_bundle
from edgekit.export import export
from edgekit.graph.tensors import BlockQuantizedTensor, pack_values
from edgekit.graph.weights_file import arrays_of, load_weights, save_weights, stored_tensors
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


def test_offsets_become_sixteenths_of_a_step_from_the_middle():
    """Zero point 7 and a third of a step: 1.333 steps from 8, nearest 21 / 16. From 8, -1.02 steps: -16 / 16."""
    found = compact_blocks(blocks([0.5, 2], [0.5 / 3, -2.04], [7, 8]))
    assert found.zero_points is None
    assert found.offsets.tolist() == [[0.5 * 21 / 16, -2.0]]


def test_where_a_byte_does_not_hold_them_zero_points_stay():
    """From the middle the first is 8.25 steps off, beyond 127 sixteenths; from its zero point a quarter."""
    found = compact_blocks(blocks([0.5, 2], [0.125, 0.25], [0, 8]))
    assert found.unpacked_zero_points().tolist() == [[0, 8]]
    assert found.offsets.tolist() == [[0.125, 0.25]]


def test_offsets_far_beyond_a_block_stay_as_they_are():
    tensor = blocks([0.1, 2], [99.77, 0.3], [0, 8])
    found = compact_blocks(tensor)
    assert (found.offsets.tolist(), found.scales.tolist()) == (
        tensor.offsets.tolist(),
        [[float(np.float32(np.float16(0.1))), 2.0]],
    )


def test_a_block_without_steps_keeps_its_value():
    found = compact_blocks(blocks([0.0, 1.0, 0.0], [3.5, 0.25, 0.0]))
    assert found.dequantize()[:, 0].reshape(3, 16)[[0, 2]].tolist() == [[3.5] * 16, [0.0] * 16]


def test_scales_beyond_half_precision_stay():
    assert round_to_half(np.float32([1e6, 0.1, -3])).tolist() == [1e6, float(np.float32(np.float16(0.1))), -3.0]


def test_values_are_off_by_a_thirty_second_of_a_step_at_most():
    random = np.random.default_rng(0)
    tensor = blocks(random.uniform(0.5, 2, 50), random.uniform(-1, 1, 50), random.integers(4, 12, 50))
    found = compact_blocks(tensor)
    off = np.abs(found.dequantize() - tensor.dequantize()).reshape(50, 16).max(axis=1)
    # And what half precision rounds a scale by, 2^-11 of it, at most 8 steps of a value away.
    assert (off <= tensor.scales[0] * (1 / 32 + 12 / 2048)).all()
    assert off.max() > 1 / 64


@pytest.mark.parametrize(
    ("scale", "offset", "stored"),
    [
        (0.5, 0.5 * 21 / 16, ("float16", "int8")),
        (0.5, 0.17, ("float16", "float32")),
        (0.5, 0.5 * 130 / 16, ("float16", "float32")),
        (0.1, np.float32(0.1) * np.float32(-3 / 16), ("float32", "int8")),
        (0.0, 0.0, ("float16", "int8")),
        (0.0, 1.0, ("float16", "float32")),
        (1e6, 1e6 / 16, ("float32", "int8")),
    ],
)
def test_scales_and_offsets_are_stored_in_as_few_bytes_as_lose_nothing(scale, offset, stored, tmp_path):
    tensor = blocks([scale], [offset])
    arrays = arrays_of({"w.weight": tensor})
    assert (arrays["w.weight_scale"].dtype, arrays["w.weight_offset"].dtype) == stored
    save_weights(tmp_path, {"w.weight": tensor})
    entries = stored_tensors(tmp_path)
    assert (entries["w.weight_scale"].dtype, entries["w.weight_offset"].dtype) == stored


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    """A model whose matrices were Q4_1 once."""
    import torch

    model = make_model("llama")
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
    assert sizes["int4-compact"] < 0.9 * sizes["int4"] < 0.9 * sizes["int8"]
    verify_bundle(bundles["int4-compact"])
    ids = list(range(40, 60))
    exact = edgekit.load(fp32).logits(ids)
    off = {name: np.std(edgekit.load(path).logits(ids) - exact) / exact.std() for name, path in bundles.items()}
    assert off["int8"] < off["int4"] < 0.1
    assert off["int4-compact"] < 1.2 * off["int4"]


def test_the_stored_weights_are_those_that_the_graph_calculates_with(bundles):
    """`verify_bundle` and the export's check read them back; here, that they are stored in few bytes at all."""
    bundle = open_bundle(bundles["int4-compact"])
    stored = stored_tensors(bundles["int4-compact"])
    tensors = bundle.manifest.quantization.tensors
    weights = load_weights(bundle.file("weights.safetensors"), tensors)
    with_offsets = [name for name, entry in tensors.items() if entry.offset]
    assert with_offsets
    for name in with_offsets:
        entry = tensors[name]
        assert (stored[entry.scale].dtype, stored[entry.offset].dtype, entry.zero_point) == ("float16", "int8", None)
        steps = weights[name].offsets / weights[name].scales * 16
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert stored[tensors["embedding.weight"].scale].dtype == "float16"
