"""Decoder-only graphs over weights in every form against the numpy reference, and what the check of an export sees."""

import dataclasses

import numpy as np
import pytest

from edgekit.errors import EdgekitError, SourceError
from edgekit.graph.causal_lm import MODEL_FILE, write_causal_lm
from edgekit.graph.causal_lm_check import check_causal_lm
from edgekit.graph.causal_lm_reference import CausalLMReference
from edgekit.graph.causal_lm_weights import weight_shapes
from edgekit.graph.check import logits_difference
from edgekit.graph.tensors import BlockQuantizedTensor, QuantizedTensor
from edgekit.graph.weights_file import WEIGHTS_FILE, load_weights
from tests.graph.causal_lm_checkpoints import VOCAB, make_gemma3, make_gpt2, make_llama, make_qwen3
from tests.graph.causal_lm_session import CausalLMSession
from tests.graph.causal_lm_weights import FORMS, IN_BLOCKS, in_form, precision_of

IDS = np.random.default_rng(2).integers(0, VOCAB, 30)
MODELS = {
    "llama": make_llama,
    # Rows of 56 numbers end within a block, whatever its size.
    "llama with tied embeddings and biases": lambda: make_llama(
        hidden_size=56, tie_word_embeddings=True, attention_bias=True, mlp_bias=True
    ),
    "qwen3": make_qwen3,
    "gpt2": make_gpt2,
    "gemma3_text": make_gemma3,
}
REFUSED = (
    r"the (fp32|int8|int4) graph differs from its weights by .* of the logits' spread \(at most .* is expected\); "
)


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    return MODELS[request.param]()


@pytest.mark.parametrize("form", FORMS)
def test_the_graph_calculates_what_its_weights_say(case, form, tmp_path):
    weights, precision = in_form(case.weights, form), precision_of(form)
    write_causal_lm(tmp_path, case.config, weights, precision)
    # A rounding that falls the other way shows in int8; an exporter's fault is larger by far.
    assert check_causal_lm(tmp_path, case.config, weights, precision) < (1e-5 if form == "fp32" else 0.05)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MODEL_FILE, WEIGHTS_FILE]


@pytest.mark.parametrize("form", IN_BLOCKS)
def test_blocks_in_an_fp32_bundle_are_multiplied_in_float(case, form, tmp_path):
    weights = in_form(case.weights, form)
    floats = {
        name: tensor if isinstance(tensor, np.ndarray) else tensor.dequantize() for name, tensor in weights.items()
    }
    expected = CausalLMReference(case.config, floats, "fp32").logits(IDS)
    found = CausalLMSession(tmp_path, case.config, weights, "fp32").run([IDS], every=True)
    assert logits_difference(found, expected) < 1e-5


@pytest.mark.parametrize("form", [form for form in FORMS[1:] if "offsets" not in form])
def test_quantised_weights_come_near_the_float_ones(case, form, tmp_path):
    """A wrong layout (a nibble, a transposition, a zero point) would be as far off as another model."""
    weights = in_form(case.weights, form)
    expected = CausalLMReference(case.config, case.weights, "fp32").logits(IDS)
    found = CausalLMSession(tmp_path, case.config, weights, precision_of(form)).run([IDS], every=True)
    assert logits_difference(found, expected) < (0.6 if form.startswith("4") else 0.06)


@pytest.mark.parametrize("form", FORMS)
def test_weights_come_back_from_their_file_as_they_went_in(case, form, tmp_path):
    weights = in_form(case.weights, form)
    files = write_causal_lm(tmp_path, case.config, weights, precision_of(form))
    shapes = dict(weight_shapes(case.config))
    found = load_weights(tmp_path / WEIGHTS_FILE, files.quantization.tensors, shapes)
    rotary = {name for name in found if name.startswith("rotary.")}
    assert set(found) - rotary == set(weights)
    for name, tensor in weights.items():
        expected, stored = _arrays(tensor), _arrays(found[name])
        assert expected.keys() == stored.keys()
        for part, array in expected.items():
            np.testing.assert_array_equal(stored[part], array)


def _arrays(tensor):
    if isinstance(tensor, np.ndarray):
        return {"values": tensor}
    arrays = {name: value for name, value in vars(tensor).items() if value is not None}
    offsets = arrays.pop("offsets", None)
    if isinstance(offsets, BlockQuantizedTensor):
        return arrays | {f"offsets.{name}": value for name, value in _arrays(offsets).items()}
    return arrays if offsets is None else {**arrays, "offsets": offsets}


def test_each_tensor_may_have_a_form_of_its_own(tmp_path):
    case = make_llama(tie_word_embeddings=True)
    forms = {name: in_form({name: case.weights[name]}, form)[name] for name, form in (
        ("embedding.weight", "int8"),
        ("layers.0.attention.qkv.weight", "4 bits"),
        ("layers.1.feed_forward.down.weight", "8 bits"),
    )}  # fmt: skip
    weights = {**case.weights, **forms}
    files = write_causal_lm(tmp_path, case.config, weights, "int4")
    assert check_causal_lm(tmp_path, case.config, weights, "int4") < 0.01
    described = {name: (t.dtype, t.granularity, t.block_size) for name, t in files.quantization.tensors.items()}
    assert described == {
        "embedding.weight": ("int8", "per-channel", None),
        "layers.0.attention.qkv.weight": ("uint4", "per-block", 32),
        "layers.1.feed_forward.down.weight": ("uint8", "per-block", 32),
    }
    assert files.quantization.activations == "dynamic per row and dynamic per block"


def test_a_tied_head_and_its_embedding_are_stored_once(tmp_path):
    case = make_llama(tie_word_embeddings=True)
    for form in FORMS:
        weights = in_form({"embedding.weight": case.weights["embedding.weight"]}, form)["embedding.weight"]
        write_causal_lm(tmp_path, case.config, in_form(case.weights, form), precision_of(form))
        if isinstance(weights, BlockQuantizedTensor | QuantizedTensor):
            stored = (tmp_path / WEIGHTS_FILE).read_bytes()
            assert stored.count(weights.values.tobytes()) == 1


WRONG_CONFIGURATIONS = {
    "rotary base": {"rope_theta": 10.0},
    "pairs of the rotation": {"rotary_interleaved": True},
    "activation": {"activation_function": "gelu"},
    "epsilon": {"norm_epsilon": 0.5},
    "scale of attention": {"attention_scale": 0.1},
    "embed scale": {"embed_scale": 3.0},
    "window": {"local_layers": (1,), "local_window": 3},
}


@pytest.mark.parametrize("fault", WRONG_CONFIGURATIONS)
@pytest.mark.parametrize("form", ["fp32", "int8", "4 bits"])
def test_a_graph_of_another_configuration_is_refused(fault, form, tmp_path):
    case = make_llama()
    weights, precision = in_form(case.weights, form), precision_of(form)
    wrong = dataclasses.replace(case.config, **WRONG_CONFIGURATIONS[fault])
    write_causal_lm(tmp_path, wrong, weights, precision)
    with pytest.raises(EdgekitError, match=REFUSED):
        check_causal_lm(tmp_path, case.config, weights, precision)


@pytest.mark.parametrize(
    "name", ["layers.1.attention.qkv.bias", "layers.0.feed_forward.norm.weight", "final_norm.weight"]
)
def test_a_wrong_vector_is_refused(name, tmp_path):
    case = make_llama(attention_bias=True)
    write_causal_lm(tmp_path, case.config, case.weights | {name: case.weights[name] + 0.02}, "fp32")
    with pytest.raises(EdgekitError, match=REFUSED):
        check_causal_lm(tmp_path, case.config, case.weights, "fp32")


def test_rotary_tables_from_elsewhere_are_not_believed(tmp_path):
    case = make_llama()
    strange = {"rotary.cos": np.zeros((3, 2), np.float32), "rotary.other": np.ones(1, np.float32)}
    write_causal_lm(tmp_path, case.config, case.weights | strange, "fp32")
    assert check_causal_lm(tmp_path, case.config, case.weights, "fp32") < 1e-5
    assert "rotary.other" not in load_weights(tmp_path / WEIGHTS_FILE, {})


def test_weights_that_do_not_fit_are_all_listed_at_once(tmp_path):
    case = make_llama()
    weights = {name: array for name, array in case.weights.items() if name != "final_norm.weight"}
    weights["layers.0.attention.output.weight"] = np.zeros((64, 47), np.float32)
    weights["layers.2.attention.norm.weight"] = np.zeros(48, np.float32)
    message = (
        r"^checkpoint: weights don't fit the llama architecture; missing: final_norm.weight; left over: "
        r"layers.2.attention.norm.weight; of another shape: layers.0.attention.output.weight \[64, 47\] instead of "
        r"\[64, 48\]$"
    )
    with pytest.raises(SourceError, match=message):
        write_causal_lm(tmp_path, case.config, weights, "fp32")


def test_a_long_list_of_misfits_is_cut(tmp_path):
    case = make_llama()
    with pytest.raises(SourceError, match=r"missing: embedding.weight, .* and 3 more$"):
        write_causal_lm(tmp_path, case.config, {}, "fp32")
    layers = dataclasses.replace(case.config, layers=10**9)
    with pytest.raises(SourceError, match=r"missing: layers.2.attention.norm.weight.* and \d+ more; left over"):
        write_causal_lm(tmp_path, layers, case.weights, "fp32")
