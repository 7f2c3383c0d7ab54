"""T5, BART, mBART, Pegasus, M2M-100: fp32 graphs give what transformers gives; int8 comes close."""

import numpy as np
import pytest
import torch

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.architectures.t5 import distance_buckets
from edgekit.export.pipeline import export_checkpoint
from edgekit.export.read_seq2seq import ARCHITECTURES, read_seq2seq
from edgekit.export.sources.local_directory import read_directory
from edgekit.graph.check import logits_difference
from edgekit.graph.reference import Reference
from edgekit.graph.weight_shapes import check_shapes
from edgekit.quantize.scheme import named_scheme
from edgekit.quantize.weights import quantize_weights
from edgekit.runtime import load
from tests.graph.forced_decoding import ForcedDecoding
from tests.graph.seq2seq_checkpoints import CLASSES, make_seq2seq, save_seq2seq

UNEVEN = {"encoder_layers": 1, "decoder_layers": 3, "encoder_ffn_dim": 40, "decoder_ffn_dim": 24}
OTHER_HEADS = {"d_model": 48, "encoder_attention_heads": 4, "decoder_attention_heads": 3}
T5_CONFIGURATIONS = {
    "plain-relu-tied": {},
    "gated-gelu-untied": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "gated-silu": {"feed_forward_proj": "gated-silu", "num_decoder_layers": 1},
    "gelu-wide-heads": {"feed_forward_proj": "gelu", "d_kv": 16, "num_heads": 3},
    "few-buckets": {"relative_attention_num_buckets": 6, "relative_attention_max_distance": 9},
    "uneven-sides": {"num_layers": 3, "num_decoder_layers": 1, "d_ff": 20, "layer_norm_epsilon": 1e-3},
}
# T5 1.1 under another name, with other defaults: gated GELU, an output layer of its own, no sentinels.
MT5_CONFIGURATIONS = {
    "as-published": {},
    "gated-relu-tied": {"feed_forward_proj": "gated-relu", "tie_word_embeddings": True},
    "plain-gelu-new": {"feed_forward_proj": "gelu_new", "num_decoder_layers": 1},
    "wide-heads": {"d_kv": 16, "num_heads": 3, "d_ff": 24},
    "many-buckets": {"relative_attention_num_buckets": 48, "relative_attention_max_distance": 400},
    "deeper-encoder": {"num_layers": 3, "num_decoder_layers": 1, "layer_norm_epsilon": 1e-4},
}
BART_CONFIGURATIONS = {
    "as-published": {"activation_function": "gelu"},
    "relu-scaled": {"activation_function": "relu", "scale_embedding": True},
    "untied": {"tie_word_embeddings": False, "activation_function": "gelu_new", "scale_embedding": False},
    "uneven-sides": {**UNEVEN, "activation_function": "silu"},
    "other-heads": {**OTHER_HEADS, "scale_embedding": True},
    "first-token-and-end-forced": {"max_position_embeddings": 40},
}
SEARCH = {
    "first-token-and-end-forced": {"forced_bos_token_id": 7, "forced_eos_token_id": 2, "max_length": 15},
    "uneven-sides": {"bad_words_ids": [[9], [17]]},
}
OF_TYPE = {"t5": T5_CONFIGURATIONS, "mt5": MT5_CONFIGURATIONS}
CONFIGURATIONS = {
    f"{model_type}-{name}": (model_type, name, options)
    for model_type in CLASSES
    for name, options in OF_TYPE.get(model_type, BART_CONFIGURATIONS).items()
}
LENGTHS = (1, 3, 8, 21)
LANGUAGE = {"mbart": "de_DE", "m2m_100": "deu_Latn"}
FORCED, LONGEST = 9, 18
# int8: root mean square difference of the logits as a share of their spread; 0.01 to 0.06 are seen.
CLOSE = 0.1


class Case:
    """One configuration: transformers' model, its files, and what edgekit read from them."""

    def __init__(self, model_type, name, options, directory):
        self.model = make_seq2seq(model_type, seed=len(name), vocab_size=len(name) + 560, **options)
        search = {"max_length": LONGEST, **SEARCH.get(name, {})}
        if model_type == "pegasus" and "forced_eos_token_id" in search:
            search["forced_eos_token_id"] = 1
        variant = {"mbart": "mbart50", "m2m_100": "nllb"}.get(model_type, "")
        save_seq2seq(self.model, directory, generation=search, variant=variant)
        self.checkpoint = read_directory(directory, "tiny")
        self.read = read_seq2seq(self.checkpoint)
        config = self.model.config
        self.pad, self.eos = config.pad_token_id, config.eos_token_id
        self.forbidden = [word[0] for word in search.get("bad_words_ids", [])]
        languages = self.read.language_tokens
        # Many-language models begin with the target language's token, whatever the checkpoint says.
        self.forced = languages.ids[LANGUAGE[model_type]] if languages else search.get("forced_bos_token_id")
        random = np.random.default_rng(7)
        self.sources = [[*random.integers(3, 300, length - 1).tolist(), self.eos] for length in LENGTHS]
        self.targets = random.integers(3, 300, (len(LENGTHS), FORCED))
        self.targets[:, 0] = config.decoder_start_token_id

    def batch(self):
        """The sources as transformers takes them: ids and mask, padded to one length."""
        width = max(LENGTHS)
        ids = torch.tensor([row + [self.pad] * (width - len(row)) for row in self.sources])
        return {"input_ids": ids, "attention_mask": torch.tensor([[1] * n + [0] * (width - n) for n in LENGTHS])}

    def generated(self, beams):
        """What transformers generates, from behind the start token and a forced first one up to EOS."""
        with torch.no_grad():
            rows = self.model.generate(
                **self.batch(), num_beams=beams, do_sample=False, forced_bos_token_id=self.forced
            )
        rows = [row[1 + (self.forced is not None) :] for row in rows.tolist()]
        return [row[: row.index(self.eos)] if self.eos in row else row for row in rows]


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def case(request, tmp_path_factory):
    return Case(*CONFIGURATIONS[request.param], tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def bundle(case, tmp_path_factory):
    return load(export_checkpoint(case.checkpoint, "fp32", tmp_path_factory.mktemp("bundle") / "fp32"))


def test_every_architecture_has_six_configurations():
    assert CLASSES.keys() == ARCHITECTURES.keys()
    assert [len(group) for group in (T5_CONFIGURATIONS, MT5_CONFIGURATIONS, BART_CONFIGURATIONS)] == [6, 6, 6]


def test_logits_equal_those_of_transformers_and_int8_is_close(case, tmp_path):
    with torch.no_grad():
        expected = case.model(**case.batch(), decoder_input_ids=torch.tensor(case.targets)).logits.numpy()
    allowed = np.setdiff1d(np.arange(expected.shape[2]), case.forbidden)
    assert expected.std() > 0.5  # else a difference of 1e-3 would say nothing
    for precision in ("fp32", "int8"):
        weights = quantize_weights(case.read.weights, named_scheme("seq2seq", precision))
        check_shapes(case.read.config, weights, "the checkpoint")
        (tmp_path / precision).mkdir()
        graphs = ForcedDecoding(tmp_path / precision, case.read.config, weights, precision)
        found, choices = graphs.logits(case.sources, case.targets, case.pad)
        assert (found[..., case.forbidden] < -1e8).all()
        np.testing.assert_array_equal(choices, found.argmax(axis=2))
        if precision == "fp32":
            np.testing.assert_allclose(found[..., allowed], expected[..., allowed], rtol=0, atol=1e-3)
            alone = Reference(case.read.config, case.read.weights, "fp32").logits(case.sources[2], case.targets[2])
            np.testing.assert_allclose(alone[:, allowed], expected[2][:, allowed], rtol=0, atol=1e-3)
        else:
            assert logits_difference(found[..., allowed], expected[..., allowed]) < CLOSE


@pytest.mark.parametrize("beams", [1, 4])
def test_outputs_equal_those_of_generate(case, bundle, beams):
    found = bundle.generate_ids(case.sources, beams=beams, max_length=1000)
    assert found == case.generated(beams)
    assert not set(case.forbidden).intersection(*found)
    assert [bundle.generate_ids([row], beams=beams, max_length=1000)[0] for row in case.sources] == found


def test_buckets_of_distances_equal_those_of_transformers():
    bucket = CLASSES["t5"][1](CLASSES["t5"][0](num_layers=1, d_model=8, d_ff=8, vocab_size=8)).encoder.block[0]
    bucket = bucket.layer[0].SelfAttention._relative_position_bucket
    distances = np.arange(-2047, 2048)
    for buckets, most in ((32, 128), (6, 9), (64, 1000), (8, 2047)):
        for bidirectional in (True, False):
            expected = bucket(torch.tensor(distances), bidirectional, buckets, most).numpy()
            found = distance_buckets(distances, buckets, most, bidirectional=bidirectional)
            np.testing.assert_array_equal(found, expected)


def read_t5(config):
    return ARCHITECTURES["t5"].read_config(config, ())


REFUSED = {
    "gated by what isn't known": ({"feed_forward_proj": "gated-tanh"}, r"feed_forward_proj='gated-tanh' \(expected"),
    "sides of one table": ({"tie_encoder_decoder": True}, r"tie_encoder_decoder=True \(expected False\)"),
    "too few buckets": ({"relative_attention_num_buckets": 2}, r"relative_attention_num_buckets=2 \(expected 4 to"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_are_not_implemented_are_refused_by_name(name):
    options, message = REFUSED[name]
    config = CLASSES["t5"][0]().to_dict() | options
    with pytest.raises(UnsupportedError, match=message):
        (ARCHITECTURES["t5"].read_names if name == "too few buckets" else read_t5)(config)


def test_sizes_and_tensors_that_fit_no_model_are_refused_by_name(tmp_path):
    with pytest.raises(SourceError, match=r"d_model=None \(expected 1 to .*is this a bart checkpoint\?"):
        ARCHITECTURES["bart"].read_config({"model_type": "bart"}, ())
    save_seq2seq(make_seq2seq("t5"), tmp_path)
    config = (tmp_path / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(config.replace('"d_ff": 48', '"d_ff": 47'), encoding="utf-8")
    with pytest.raises(SourceError, match=r"DenseReluDense\.wi\.weight is \[48, 32\], expected \[47, 32\]"):
        read_seq2seq(read_directory(tmp_path, "tiny"))
