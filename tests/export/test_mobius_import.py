"""A graph that mobius-onnx built, as a bundle: what transformers 5 gives for the checkpoint. Its README says how."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import safetensors.numpy

import edgekit
from edgekit.errors import UnsupportedError
from edgekit.export import import_onnx
from edgekit.graph.check import logits_difference
from edgekit.quantize.bundle import quantize_bundle

FIXTURE = Path(__file__).parent / "mobius"
LARGEST_DIFFERENCE = {"int8": 0.05, "int4": 0.4}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return import_onnx(FIXTURE, "fp32", tmp_path_factory.mktemp("mobius") / "fp32")


@pytest.fixture(scope="module")
def recorded():
    return np.load(FIXTURE / "logits.npz")


def test_logits_and_greedy_ids_are_those_of_transformers_5_alone_and_in_a_batch(bundle, recorded):
    generator = edgekit.load(bundle)
    assert recorded["logits"].std() > 0.5
    np.testing.assert_allclose(generator.logits(recorded["ids"].tolist()), recorded["logits"], rtol=0, atol=1e-4)
    searched = json.loads((FIXTURE / "greedy.json").read_text(encoding="utf-8"))
    length = len(searched["greedy"][0])
    assert generator.generate_ids(searched["prompts"], max_new_tokens=length) == searched["greedy"]
    alone = [generator.generate_ids([ids], max_new_tokens=length)[0] for ids in searched["prompts"]]
    assert alone == searched["greedy"]


@pytest.mark.parametrize("precision", LARGEST_DIFFERENCE)
def test_quantised_logits_are_near(bundle, recorded, precision, tmp_path):
    found = edgekit.load(quantize_bundle(bundle, precision, tmp_path / precision)).logits(recorded["ids"].tolist())
    assert 0 < logits_difference(found, recorded["logits"]) < LARGEST_DIFFERENCE[precision]


def test_the_bundle_keeps_the_opset_and_stores_each_weight_once_by_the_names_that_quantising_knows(bundle):
    assert ir.load(bundle / "model.onnx").opset_imports[""] == 24
    arrays = safetensors.numpy.load_file(bundle / "weights.safetensors")
    assert {"embedding.weight", "output.weight"} <= arrays.keys()
    assert len({array.tobytes() for array in arrays.values()}) == len(arrays)


def test_functions_that_are_no_operators_of_onnxruntime_are_refused(tmp_path):
    folder = shutil.copytree(FIXTURE, tmp_path / "folder")
    model = ir.load(folder / "model.onnx")
    (function,) = model.functions.values()
    model.functions[("mine", "Twice", "")] = ir.Function(
        "mine", "Twice", graph=function.graph.clone(), attributes=function.attributes
    )
    ir.save(model, folder / "model.onnx")
    with pytest.raises(UnsupportedError, match=r"model\.onnx brings functions of its own \(Twice\), which edgek"):
        import_onnx(folder, "fp32", tmp_path / "out")
    assert not (tmp_path / "out").exists()
