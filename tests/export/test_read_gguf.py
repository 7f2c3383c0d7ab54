"""GGUF files to models: the same configuration and weights as the Hugging Face directory, and what is refused."""

from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

import edgekit
from edgekit.errors import EdgekitError, SourceError, UnsupportedError
from edgekit.export import export
from edgekit.export.read_causal_lm import read_causal_lm
from edgekit.export.read_gguf import read_gguf
from edgekit.export.sources.checkpoint import Checkpoint
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph.tensors import BlockQuantizedTensor
from tests.damage import damaged_copies, refusals
from tests.export.causal_lm_directories import CHAT_TEMPLATE, make_model, make_tokenizer, save_checkpoint
from tests.export.gguf_models import convert, llama3_factors, permute, save_gguf

GEMMA3 = {"query_pre_attn_scalar": 32, "sliding_window_pattern": 2}
LLAMA3 = {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
LINEAR = {"llama__rope__scaling__type": "linear", "llama__rope__scaling__factor": 4.0}
YARN = {
    "qwen2__rope__scaling__type": "yarn",
    "qwen2__rope__scaling__factor": 4.0,
    "qwen2__rope__scaling__original_context_length": 16,
}
VARIANTS = {
    "llama": ("llama", {}, {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}, {}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}, {}),
    "llama, wide heads": ("llama", {"head_dim": 32}, {}),
    "llama, scaled": ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, LINEAR),
    "llama, scaled as files of 2023": (
        "llama",
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        {"llama__rope__scale_linear": 4.0},
    ),
    "qwen2": ("qwen2", {}, {}),
    "qwen2, YaRN": (
        "qwen2",
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}},
        YARN,
    ),
    "qwen3": ("qwen3", {"tie_word_embeddings": True}, {}),
    "gpt2": ("gpt2", {}, {}),
    "gpt2, narrow, untied": ("gpt2", {"n_inner": 40, "tie_word_embeddings": False}, {}),
    "gemma3": ("gemma3_text", GEMMA3, {}),
}


def checkpoint(path):
    return Checkpoint("tiny", "gguf", {"weights": path}, {"source": None, "target": None}, None, {})


def read(path):
    return read_gguf(checkpoint(path))


def read_all(path):
    model = read(path)
    return {name: model.weights[name] for name in model.weights}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("variant", VARIANTS)
def test_configuration_and_weights_are_those_of_the_directory(variant, tmp_path, path):
    model_type, options, metadata = VARIANTS[variant]
    model = make_model(model_type, **options)
    expected = read_causal_lm(read_directory(save_checkpoint(tmp_path / "hub", model), "tiny"))
    found = read(save_gguf(path, model, **metadata))
    assert found.config == expected.config
    assert set(found.weights) == set(expected.weights)
    for name in expected.weights:
        np.testing.assert_array_equal(found.weights[name], expected.weights[name], name)


def test_llama_3s_rope_factors_become_its_scaling(tmp_path, path):
    model = make_model("llama", rope_theta=5e5, rope_scaling={"rope_type": "llama3", **LLAMA3})
    expected = read_causal_lm(read_directory(save_checkpoint(tmp_path / "hub", model), "tiny"))
    found = read(save_gguf(path, model, extra={"rope_freqs.weight": llama3_factors(16, 5e5, 32)}))
    assert found.config == expected.config
    assert set(found.weights) == set(expected.weights)


def test_other_rope_factors_are_refused(path):
    factors = llama3_factors(16, 1e4, 8)
    factors[3] *= 1.01
    save_gguf(path, make_model("llama"), extra={"rope_freqs.weight": factors})
    with pytest.raises(UnsupportedError, match=r"rope_freqs\.weight is not what Llama 3's rope scaling gives"):
        read(path)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_blocks_stay_blocks_and_their_rows_are_moved_back(kind, path):
    model = make_model("llama", intermediate_size=96)
    stored = convert(model)
    names = [name for name, array in stored.items() if array.ndim == 2]
    found = read(save_gguf(path, model, dict.fromkeys(names, kind)))
    assert found.source_quantization == kind
    for name in ("embedding", "output", "layers.1.attention.qkv", "layers.1.feed_forward.gate_up"):
        assert isinstance(found.weights[f"{name}.weight"], BlockQuantizedTensor)

    def quantised(name):
        code = gguf.GGMLQuantizationType[kind]
        return gguf.dequantize(gguf.quantize(stored[name], code), code)

    # Where the converter took each row from, turned round.
    order = np.argsort(permute(np.arange(64), 16)), np.argsort(permute(np.arange(32), 16)), np.arange(32)
    rows = [quantised(f"blk.1.attn_{part}.weight")[moved] for part, moved in zip("qkv", order, strict=True)]
    np.testing.assert_array_equal(found.weights["layers.1.attention.qkv.weight"].dequantize(), np.concatenate(rows).T)
    np.testing.assert_array_equal(found.weights["embedding.weight"].dequantize(), quantised("token_embd.weight"))
    down = found.weights["layers.0.feed_forward.down.weight"].dequantize()
    np.testing.assert_array_equal(down, quantised("blk.0.ffn_down.weight").T)


def test_parts_of_different_types_are_joined_as_floats(path):
    model = make_model("qwen2")
    found = read(save_gguf(path, model, {"blk.0.attn_q.weight": "Q8_0", "blk.0.attn_k.weight": "Q4_0"}))
    weight = found.weights["layers.0.attention.qkv.weight"]
    assert weight.dtype == np.float32
    value = convert(model)["blk.0.attn_v.weight"]
    np.testing.assert_array_equal(weight[:, 96:], value.T)
    assert found.source_quantization == "Q4_0, Q8_0"
    assert read(save_gguf(path, model)).source_quantization is None


def test_the_tokenizer_its_special_tokens_and_the_chat_template(path):
    found = read(save_gguf(path, make_model("llama"), tokenizer__ggml__padding_token_id=260))
    ours, original = Tokenizer.from_str(found.tokenizer_json), make_tokenizer()
    text = "the other thing, 12  <|turn|>"
    assert ours.encode(text).ids == original.encode(text).ids
    assert found.chat_template == CHAT_TEMPLATE
    assert found.special_tokens == {"bos_token": "<|bos|>", "eos_token": "<|end|>", "pad_token": "<|turn|>"}
    generation = found.generation
    assert (generation.bos_token_id, generation.eos_token_ids, generation.pad_token_id) == (258, (259,), 260)
    assert (generation.context_length, generation.adds_bos, found.vocab_size) == (64, False, 300)


def test_every_end_token_ends_a_text(path):
    # The named end and turn, and a control token that every llama.cpp model stops at; not one that is mere text.
    tokens = [*make_tokenizer().get_vocab()]
    tokens = (
        sorted(tokens, key=make_tokenizer().get_vocab().get) + ["<|im_end|>", "</s>"] + [f"{i}_" for i in range(37)]
    )
    kinds = [3 if token.startswith("<|") else 1 for token in tokens]
    changes = {"tokenizer__ggml__tokens": tokens, "tokenizer__ggml__token_type": kinds}
    found = read(save_gguf(path, make_model("llama"), tokenizer__ggml__eot_token_id=260, **changes))
    assert found.generation.eos_token_ids == (259, 260, 261)


@pytest.mark.parametrize(("says", "bos", "adds"), [(True, 258, True), (False, 258, False), (True, None, False)])
def test_bos_is_added_where_the_file_says_so_and_names_it(path, says, bos, adds):
    changes = {"tokenizer__ggml__add_bos_token": says, "tokenizer__ggml__bos_token_id": bos}
    assert read(save_gguf(path, make_model("llama"), **changes)).generation.adds_bos == adds


def test_padding_outside_the_vocabulary_is_none(path):
    found = read(save_gguf(path, make_model("llama"), tokenizer__ggml__padding_token_id=32000))
    assert found.generation.pad_token_id is None
    assert "pad_token" not in found.special_tokens


@pytest.mark.parametrize("named", ["bos", "eos", "eot", "unknown"])
def test_other_ids_outside_the_vocabulary_are_refused(path, named):
    save_gguf(path, make_model("llama"), **{f"tokenizer__ggml__{named}_token_id": 300})
    with pytest.raises(SourceError, match=rf"expected ids below 300, found tokenizer\.ggml\.{named}_token_id=300"):
        read(path)


def test_another_architecture_is_refused_by_name(path):
    save_gguf(path, make_model("llama"), general__architecture="mamba")
    with pytest.raises(UnsupportedError, match=r"of llama, qwen2, qwen3, gemma3, gpt2, found 'mamba'; edgekit doesn't"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"llama__block_count": None, "llama__context_length": -0.5, "llama__embedding_length": "x"},
            r"embedding_length is 'x', expected a whole number above 0; llama\.block_count is missing; "
            r"llama\.context_length is '-0\.5'",
        ),
        ({"llama__rope__freq_base": float("nan")}, r"llama\.rope\.freq_base is 'nan', expected a number above 0"),
        (
            {"llama__attention__layer_norm_rms_epsilon": None},
            r"attention\.layer_norm_epsilon is missing; is it damaged",
        ),
        ({"llama__attention__head_count_kv": [1, 2]}, r"head_count_kv is '\[1 2\]', expected a whole number above 0"),
        ({"llama__block_count": 3}, r"model\.gguf: the checkpoint's tensors don't fit its configuration: blk\.2\."),
        (
            {"llama__feed_forward_length": 1 << 30},
            r"blk\.0\.ffn_gate\.weight is \[48, 64\], expected \[1073741824, 64\]",
        ),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(path, changes, message):
    save_gguf(path, make_model("llama"), **changes)
    with pytest.raises(SourceError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"llama__expert_count": 8, "llama__logit_scale": 2.0, "llama__rope__dimension_count": 8},
            r"not implemented: expert_count=8, logit_scale=2\.0, rope\.dimension_count=8 \(expected 16\)",
        ),
        ({"llama__rope__scaling__type": "longrope"}, r"expected rope\.scaling\.type linear or yarn, found 'longrope'"),
        ({"llama__attention__head_count_kv": 3}, r"unsupported llama configuration: key_value_heads=3 does not divide"),
        (
            {"llama__context_length": 1 << 30, "llama__block_count": 1 << 31},
            r"layers=2147483648 \(expected at most 1024\), context_length=1073741824 \(expected at most 1048576\)",
        ),
    ],
)
def test_options_that_are_not_implemented_are_refused_by_name(path, changes, message):
    save_gguf(path, make_model("llama"), **changes)
    with pytest.raises(UnsupportedError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_left_over_tensors_are_listed(path):
    save_gguf(path, make_model("qwen2"), extra={"blk.0.attn_q_norm.weight": np.ones(16, np.float32)})
    with pytest.raises(SourceError, match=r"blk\.0\.attn_q_norm\.weight is not a tensor of qwen2"):
        read(path)


def test_more_tokens_than_rows_are_refused(path):
    tensors = {"token_embd.weight": np.zeros((299, 64), np.float32), "output.weight": np.zeros((299, 64), np.float32)}
    save_gguf(path, make_model("llama"), extra=tensors)
    with pytest.raises(SourceError, match=r"expected at most 299 tokens, the rows of token_embd\.weight, found 300"):
        read(path)


def test_an_empty_template_is_none(path):
    assert read(save_gguf(path, make_model("llama"), tokenizer__chat_template="")).chat_template is None


@pytest.mark.parametrize(("template", "found"), [(7, "something else"), ("a" * (1 << 20) + "a", "one of 1048577")])
def test_a_template_that_is_none_is_refused(path, template, found):
    save_gguf(path, make_model("llama"), tokenizer__chat_template=template)
    with pytest.raises(SourceError, match=rf"a text of at most 1048576 characters, found {found}; the file is damaged"):
        read(path)


@pytest.fixture(scope="module")
def good():
    return {}


def write_good(path, good):
    if not good:
        model = make_model("llama", intermediate_size=64, vocab_size=300, hidden_size=32)
        kinds = {"blk.0.attn_q.weight": "Q4_1", "blk.1.ffn_down.weight": "Q4_0", "token_embd.weight": "Q8_0"}
        good["data"] = save_gguf(path, model, kinds).read_bytes()
    return good["data"]


def test_damaged_files_give_one_line_or_a_model(path, good):
    assert len(refusals(read_all, path, damaged_copies(write_good(path, good), 100))) > 100


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.data())
def test_no_change_of_bytes_brings_another_exception(path, good, changes):
    copy = bytearray(write_good(path, good))
    # Metadata is the first third of such a small file; eight bytes at once reach every length, count and offset.
    reach = changes.draw(st.sampled_from([len(copy) // 3, len(copy)]))
    for _ in range(changes.draw(st.integers(1, 3))):
        at = changes.draw(st.integers(0, reach - 9))
        copy[at : at + 8] = changes.draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, bytes(8)]))
    path.write_bytes(copy)
    message = f"{path}: fine"
    try:
        read_all(path)
    except EdgekitError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1


def test_gemma_of_27b_scales_its_queries_by_the_width_of_a_head_of_d_model(path, monkeypatch):
    monkeypatch.setattr("edgekit.export.gguf_config.GEMMA3_27B_LAYERS", 2)
    config = read(save_gguf(path, make_model("gemma3_text", **GEMMA3))).config
    assert config == replace(config, attention_scale=(64 / 4) ** -0.5)


def test_a_file_is_exported_and_runs_as_transformers_does(path, tmp_path):
    model = make_model("llama", tie_word_embeddings=True)
    bundle = export(str(save_gguf(path, model)), "fp32", tmp_path / "bundle")
    ids = np.random.default_rng(0).integers(0, 256, 20).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    with edgekit.load(bundle) as generator:
        assert np.abs(generator.logits(ids) - expected).max() <= 1e-4 * np.abs(expected).max()
        new = generator.generate_ids([ids], max_new_tokens=8)[0]
    follows = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=8, pad_token_id=0)[0, 20:].tolist()
    assert new == [index for index in follows if index != 259]
