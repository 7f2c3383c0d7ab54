"""MarianMT: fp32 graphs built from a checkpoint give what transformers gives, whatever MarianConfig says."""

import inspect

import numpy as np
import pytest
import torch
from transformers import MarianConfig

from edgekit.errors import UnsupportedError
from edgekit.export.pipeline import export_checkpoint
from edgekit.export.read_marian import read_marian
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph.check import logits_difference
from edgekit.graph.tensors import QuantizedTensor
from edgekit.quantize.scheme import named_scheme
from edgekit.quantize.weights import quantize_weights
from edgekit.runtime import load
from tests.graph.forced_decoding import ForcedDecoding
from tests.graph.marian_checkpoints import make_marian, save_marian

SEPARATE = {"share_encoder_decoder_embeddings": False}
CONFIGURATIONS = {
    "relu-scaled": {"activation_function": "relu", "scale_embedding": True},
    "gelu-unscaled-uneven-sides": {
        "activation_function": "gelu",
        "encoder_layers": 2,
        "decoder_layers": 1,
        "d_model": 24,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 3,
        "encoder_ffn_dim": 40,
        "decoder_ffn_dim": 20,
    },
    "swish-separate-vocabularies": {
        **SEPARATE,
        "activation_function": "swish",
        "scale_embedding": True,
        "decoder_vocab_size": 143,
        "decoder_layers": 2,
    },
    "silu-separate-smaller-target": {**SEPARATE, "activation_function": "silu", "decoder_vocab_size": 117},
    "separate-untied": {
        **SEPARATE,
        "activation_function": "relu",
        "decoder_vocab_size": 150,
        "tie_word_embeddings": False,
    },
    "relu-separate-larger-target": {
        **SEPARATE,
        "activation_function": "relu",
        "decoder_vocab_size": 301,
        "encoder_layers": 2,
        "d_model": 24,
        "decoder_attention_heads": 3,
    },
    "separate-untied-smaller-target": {
        **SEPARATE,
        "activation_function": "swish",
        "scale_embedding": True,
        "decoder_vocab_size": 99,
        "tie_word_embeddings": False,
        "decoder_ffn_dim": 24,
    },
    "separate-shallow-decoder": {
        **SEPARATE,
        "activation_function": "gelu",
        "decoder_vocab_size": 160,
        "encoder_layers": 3,
        "max_position_embeddings": 40,
    },
    "shared-untied": {"activation_function": "gelu", "tie_word_embeddings": False, "scale_embedding": True},
    "separate-of-one-size": {**SEPARATE, "scale_embedding": True, "encoder_layers": 3, "decoder_layers": 2},
    "odd-sizes": {
        "activation_function": "swish",
        "scale_embedding": True,
        "vocab_size": 139,
        "d_model": 40,
        "encoder_attention_heads": 8,
        "decoder_attention_heads": 5,
        "encoder_ffn_dim": 7,
        "decoder_ffn_dim": 33,
    },
    "heads-of-one-number": {
        "activation_function": "relu",
        "d_model": 8,
        "encoder_attention_heads": 8,
        "decoder_attention_heads": 1,
        "decoder_layers": 3,
        "max_position_embeddings": 40,
    },
    "one-wide-head": {
        "activation_function": "gelu",
        "scale_embedding": True,
        "d_model": 72,
        "encoder_attention_heads": 1,
        "decoder_attention_heads": 1,
        "encoder_ffn_dim": 96,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 129,
    },
}
# Not varied: without effect once a model is trained, or the token ids that make_marian chooses.
WITHOUT_EFFECT = {
    *("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop", "init_std"),
    *("use_cache", "is_encoder_decoder", "forced_eos_token_id"),
}
TOKEN_IDS = {"decoder_start_token_id", "pad_token_id", "eos_token_id"}
BAD_WORDS = [[5], [9], [77]]
LENGTHS = (1, 3, 8, 13, 22)
# int8: root mean square difference of the logits as a share of their spread; 0.01 to 0.06 are seen.
CLOSE = 0.1


class Case:
    """One configuration: transformers' model, its files, and what edgekit read from them."""

    def __init__(self, name, directory):
        self.model = make_marian(seed=sorted(CONFIGURATIONS).index(name), **CONFIGURATIONS[name])
        # Half of the configurations forbid some ids, as generation_config.json of opus-mt does.
        forbidden = BAD_WORDS if sorted(CONFIGURATIONS).index(name) % 2 else None
        end = {"forced_eos_token_id": 0, "bad_words_ids": [*BAD_WORDS, [0]]} if forbidden else {}
        save_marian(self.model, directory, generation={"max_length": 36, **end})
        self.checkpoint = read_directory(directory, "tiny")
        self.read = read_marian(self.checkpoint)
        self.forbidden = [word[0] for word in forbidden or []]
        random = np.random.default_rng(7)
        top = self.model.config.pad_token_id
        self.sources = [[*random.integers(1, top, length - 1).tolist(), 0] for length in LENGTHS]

    def batch(self):
        """The sources as transformers takes them: ids and mask, padded to one length."""
        width, pad_id = max(LENGTHS), self.model.config.pad_token_id
        ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in self.sources])
        return {"input_ids": ids, "attention_mask": torch.tensor([[1] * n + [0] * (width - n) for n in LENGTHS])}


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def case(request, tmp_path_factory):
    return Case(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def bundle(case, tmp_path_factory):
    return load(export_checkpoint(case.checkpoint, "fp32", tmp_path_factory.mktemp("bundle") / "fp32"))


def test_configurations_between_them_vary_every_option():
    options = set(inspect.signature(MarianConfig.__init__).parameters) - {"self", "kwargs"} | {"tie_word_embeddings"}
    assert len(CONFIGURATIONS) == 13
    assert sum("decoder_vocab_size" in options for options in CONFIGURATIONS.values()) == 6
    models = [make_marian(**options).config for options in CONFIGURATIONS.values()]
    varied = {name for name in options if len({repr(getattr(model, name)) for model in models}) > 1}
    assert options - varied == WITHOUT_EFFECT | {"eos_token_id"}
    assert {model.activation_function for model in models} == {"relu", "gelu", "swish", "silu"}


def test_logits_equal_those_of_transformers_with_padding_in_the_batch_and_int8_is_close(case, tmp_path):
    config = case.model.config
    random = np.random.default_rng(3)
    targets = random.integers(1, config.pad_token_id, (len(LENGTHS), 9))
    targets[:, 0] = config.decoder_start_token_id
    with torch.no_grad():
        expected = case.model(**case.batch(), decoder_input_ids=torch.tensor(targets)).logits.numpy()
    allowed = np.setdiff1d(np.arange(expected.shape[2]), case.forbidden)
    assert expected.std() > 0.5  # else a difference of 1e-3 would say nothing
    for precision in ("fp32", "int8"):
        (tmp_path / precision).mkdir()
        weights = quantize_weights(case.read.weights, named_scheme("seq2seq", precision))
        graphs = ForcedDecoding(tmp_path / precision, case.read.config, weights, precision)
        found, choices = graphs.logits(case.sources, targets, config.pad_token_id)
        assert found.shape == expected.shape
        assert (found[..., case.forbidden] < -1e8).all()
        np.testing.assert_array_equal(choices, found.argmax(axis=2))
        if precision == "fp32":
            np.testing.assert_allclose(found[..., allowed], expected[..., allowed], rtol=0, atol=1e-3)
        else:
            assert logits_difference(found[..., allowed], expected[..., allowed]) < CLOSE


@pytest.mark.parametrize("beams", [1, 4])
def test_outputs_equal_those_of_generate(case, bundle, beams, monkeypatch):
    # transformers' beam search looks for the size of the target's vocabulary in the source's place.
    monkeypatch.setattr(case.model.config, "vocab_size", case.model.config.decoder_vocab_size)
    with torch.no_grad():
        generated = case.model.generate(**case.batch(), num_beams=beams, do_sample=False)
    expected = [row[: row.index(0)] if 0 in row else row for row in generated[:, 1:].tolist()]
    found = bundle.generate_ids(case.sources, beams=beams, max_length=1000)
    assert found == expected
    assert not set(case.forbidden).intersection(*[set(row) for row in found])


def test_some_sentences_end_by_themselves_and_some_at_the_limit(tmp_path):
    """What the comparison with generate is worth: both ways of ending occur in it."""
    lengths = set()
    for name in CONFIGURATIONS:
        case = Case(name, tmp_path / name)
        with torch.no_grad():
            generated = case.model.generate(**case.batch(), num_beams=1, do_sample=False)
        lengths |= {row.index(0) if 0 in row else len(row) for row in generated[:, 1:].tolist()}
    assert {34, 35} <= lengths  # 36 with the start token, and a forced EOS in half of them
    assert len(lengths) > 5


def equal(one, other):
    if isinstance(one, QuantizedTensor) or isinstance(other, QuantizedTensor):
        return False
    return one.dtype == other.dtype and np.array_equal(one, other)


def test_pytorch_model_bin_gives_the_same_weights(case, tmp_path):
    case.model.generation_config.bad_words_ids = None
    save_marian(
        case.model, tmp_path, generation={"bad_words_ids": [[i] for i in case.forbidden] or None}, safetensors=False
    )
    assert not (tmp_path / "model.safetensors").exists()
    weights = read_marian(read_directory(tmp_path, "tiny")).weights
    assert weights.keys() == case.read.weights.keys()
    assert [name for name in weights if not equal(weights[name], case.read.weights[name])] == []


def test_old_repositories_that_store_positions_and_every_tied_name_read_the_same(case, tmp_path):
    save_marian(case.model, tmp_path, safetensors=False)
    (tmp_path / "generation_config.json").unlink()
    state = case.model.state_dict()
    assert "model.encoder.embed_positions.weight" in state
    assert "lm_head.weight" in state
    torch.save(state, tmp_path / "pytorch_model.bin")
    weights = read_marian(read_directory(tmp_path, "tiny")).weights
    biases = {"output.bias", "output.suppressed_bias"}  # generation_config.json forbade ids there
    others = weights.keys() - biases
    assert others == case.read.weights.keys() - biases
    np.testing.assert_allclose(weights["positions.weight"], case.read.weights["positions.weight"], atol=1e-6)
    assert [n for n in others - {"positions.weight"} if not equal(weights[n], case.read.weights[n])] == []


def test_half_precision_checkpoints_are_read_as_float32(tmp_path):
    model = make_marian().half()
    weights = read_marian(read_directory(save_marian(model, tmp_path), "tiny")).weights
    name = "encoder.layers.0.feed_forward.up.weight"
    expected = model.state_dict()["model.encoder.layers.0.fc1.weight"].float().T.numpy()
    assert {tensor.dtype for tensor in weights.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(weights[name], expected)


def test_decoder_heads_that_the_cache_cannot_hold_are_refused_by_name(tmp_path):
    checkpoint = read_directory(
        save_marian(make_marian(d_model=24, decoder_attention_heads=2), tmp_path / "checkpoint"), "tiny"
    )
    message = r"decoder_attention_heads=2 of d_model=24 are 12 wide \(expected a multiple of 8\)"
    with pytest.raises(UnsupportedError, match=message):
        export_checkpoint(checkpoint, "fp32", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
