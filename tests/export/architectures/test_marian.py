"""The weight map and the options of MarianMT checkpoints: what is read, and what is refused by name."""

import math
import re

import numpy as np
import pytest
from transformers import GenerationConfig, MarianConfig

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.architectures import marian, marian_options

D, FFN, VOCAB, POSITIONS = 4, 6, 10, 18
OPTIONS = {
    "model_type": "marian",
    "d_model": D,
    "vocab_size": VOCAB,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 1,
    "encoder_ffn_dim": FFN,
    "decoder_ffn_dim": 5,
    "max_position_embeddings": POSITIONS,
    "activation_function": "swish",
    "scale_embedding": True,
    "eos_token_id": 0,
}


def checkpoint(options=OPTIONS):
    """Tensors of a checkpoint by their names in transformers, each filled with numbers of its own."""
    names = {"model.shared.weight": (VOCAB, D), "final_logits_bias": (1, VOCAB)}
    for side, ffn, attentions in (
        ("encoder", FFN, ("self_attn",)),
        ("decoder", options["decoder_ffn_dim"], ("self_attn", "encoder_attn")),
    ):
        layer = f"model.{side}.layers.0"
        for attention in attentions:
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                names |= {f"{layer}.{attention}.{part}.weight": (D, D), f"{layer}.{attention}.{part}.bias": (D,)}
        names |= {f"{layer}.fc1.weight": (ffn, D), f"{layer}.fc1.bias": (ffn,)}
        names |= {f"{layer}.fc2.weight": (D, ffn), f"{layer}.fc2.bias": (D,)}
        for norm in (*(f"{attention}_layer_norm" for attention in attentions), "final_layer_norm"):
            names |= {f"{layer}.{norm}.weight": (D,), f"{layer}.{norm}.bias": (D,)}
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in names.items()}


def map_weights(tensors, options=OPTIONS):
    return marian.map_weights(marian.read_config(options), tensors, options)


def test_configuration_is_read():
    config = marian.read_config(OPTIONS)
    assert (config.d_model, config.encoder_ffn_dim, config.decoder_ffn_dim) == (D, FFN, 5)
    assert (config.encoder_attention_heads, config.decoder_attention_heads) == (2, 1)
    assert (config.source_vocab_size, config.target_vocab_size) == (VOCAB, VOCAB)
    assert config.activation_function == "swish"
    assert config.embed_scale == 2.0
    assert config.layer_norm_epsilon == 1e-5
    assert config.shared_embeddings
    assert config.tied_output
    assert not config.has_shortlist


def test_options_that_are_absent_have_the_defaults_of_transformers():
    options = {name: value for name, value in OPTIONS.items() if name not in ("activation_function", "scale_embedding")}
    config = marian.read_config(options)
    assert config.activation_function == "gelu"
    assert config.embed_scale == 1.0


def test_silu_is_swish():
    assert marian.read_config(OPTIONS | {"activation_function": "silu"}).activation_function == "swish"


def test_shared_embeddings_overrule_decoder_vocab_size():
    assert marian.read_config(OPTIONS | {"decoder_vocab_size": 7}).target_vocab_size == VOCAB
    separate = OPTIONS | {"decoder_vocab_size": 7, "share_encoder_decoder_embeddings": False}
    assert marian.read_config(separate).target_vocab_size == 7


def test_parts_that_share_an_input_are_joined_in_order_and_transposed():
    tensors = checkpoint()
    weights = map_weights(tensors)
    layer = "model.decoder.layers.0"
    qkv = [tensors[f"{layer}.self_attn.{part}_proj.weight"].T for part in "qkv"]
    np.testing.assert_array_equal(weights["decoder.layers.0.self_attention.qkv.weight"], np.hstack(qkv))
    key_value = [tensors[f"{layer}.encoder_attn.{part}_proj.bias"] for part in "kv"]
    np.testing.assert_array_equal(weights["decoder.layers.0.cross_attention.key_value.bias"], np.hstack(key_value))
    np.testing.assert_array_equal(
        weights["decoder.layers.0.cross_attention.query.weight"], tensors[f"{layer}.encoder_attn.q_proj.weight"].T
    )
    np.testing.assert_array_equal(weights["decoder.layers.0.feed_forward.up.weight"], tensors[f"{layer}.fc1.weight"].T)
    np.testing.assert_array_equal(
        weights["decoder.layers.0.cross_attention.norm.bias"], tensors[f"{layer}.encoder_attn_layer_norm.bias"]
    )
    np.testing.assert_array_equal(
        weights["encoder.layers.0.feed_forward.norm.weight"],
        tensors["model.encoder.layers.0.final_layer_norm.weight"],
    )
    np.testing.assert_array_equal(weights["source_embedding.weight"], tensors["model.shared.weight"])
    assert "target_embedding.weight" not in weights
    assert "output.weight" not in weights


def test_every_tensor_of_the_checkpoint_is_used_once():
    tensors = checkpoint()
    weights = map_weights(tensors)
    numbers = sum(tensor.size for tensor in tensors.values())
    assert sum(tensor.size for tensor in weights.values()) == numbers + POSITIONS * D


@pytest.mark.parametrize("name", marian.SHARED_NAMES)
def test_shared_embedding_is_found_under_any_of_its_names(name):
    tensors = checkpoint()
    tensors[name] = tensors.pop("model.shared.weight")
    np.testing.assert_array_equal(map_weights(tensors)["source_embedding.weight"], tensors[name])


def test_positions_are_sines_then_cosines():
    # Worked by hand for four numbers: rates 1, 1, 1/100, 1/100, of which sines take the even, cosines the odd.
    table = marian.sinusoids(3, 4)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table[0], [0, 0, 1, 1], atol=1e-7)
    np.testing.assert_allclose(table[2], [math.sin(2), math.sin(0.02), math.cos(2), math.cos(0.02)], atol=1e-7)


def test_an_odd_width_has_one_sine_more():
    rates = [1, 1, 10000 ** (-2 / 3)]
    expected = [math.sin(5), math.sin(5 * rates[2]), math.cos(5)]
    np.testing.assert_allclose(marian.sinusoids(6, 3)[5], expected, atol=1e-6)


def test_stored_positions_win_over_the_formula():
    stored = np.arange(POSITIONS * D, dtype=np.float32).reshape(POSITIONS, D)
    names = {f"model.{side}.embed_positions.weight": stored for side in ("encoder", "decoder")}
    np.testing.assert_array_equal(map_weights(checkpoint() | names)["positions.weight"], stored)


def test_different_positions_of_encoder_and_decoder_are_refused():
    names = {
        "model.encoder.embed_positions.weight": np.zeros((POSITIONS, D), np.float32),
        "model.decoder.embed_positions.weight": np.ones((POSITIONS, D), np.float32),
    }
    with pytest.raises(UnsupportedError, match="embed_positions differ: only sinusoidal positions are supported"):
        map_weights(checkpoint() | names)


def test_forbidden_ids_can_not_win_and_the_end_is_never_forbidden():
    tensors = checkpoint()
    bias = map_weights(tensors, OPTIONS | {"bad_words_ids": [[3], [9], [0]]})["output.bias"]
    assert bias[[3, 9]].tolist() == [-1e9, -1e9]
    others = [0, 1, 2, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(bias[others], tensors["final_logits_bias"][0, others])


def test_a_checkpoint_without_an_output_bias_has_zeros():
    tensors = checkpoint()
    del tensors["final_logits_bias"]
    assert map_weights(tensors)["output.bias"].tolist() == [0.0] * VOCAB


@pytest.mark.parametrize("bad", [[10], [-1], ["3"], [True], [2.0]])
def test_forbidden_ids_outside_the_vocabulary_are_refused(bad):
    with pytest.raises(SourceError, match=r"bad_words_ids names ids \[.*\] outside the vocabulary of 10"):
        map_weights(checkpoint(), OPTIONS | {"bad_words_ids": [bad]})


UNSUPPORTED = {
    "model_type": "bart",
    "is_encoder_decoder": False,
    "activation_function": "gelu_new",
    "normalize_before": True,
    "normalize_embedding": True,
    "add_final_layer_norm": True,
    "add_bias_logits": True,
    "static_position_embeddings": False,
    "extra_pos_embeddings": 2,
    "scale_embedding": "false",
    "share_encoder_decoder_embeddings": "no",
    "tie_word_embeddings": None,
    "add_cross_attention": True,
    "is_decoder": True,
    "cross_attention_hidden_size": 8,
    "tie_encoder_decoder": True,
    "pruned_heads": {"0": [1]},
    "quantization_config": {"bits": 4},
    "no_repeat_ngram_size": 3,
    "encoder_no_repeat_ngram_size": 3,
    "repetition_penalty": 1.2,
    "encoder_repetition_penalty": 1.5,
    "min_length": 5,
    "min_new_tokens": 5,
    "forced_bos_token_id": 4,
    "suppress_tokens": [4],
    "begin_suppress_tokens": [4],
    "sequence_bias": [[[4], 2.0]],
    "exponential_decay_length_penalty": [5, 1.1],
    "guidance_scale": 1.5,
    "watermarking_config": {"bias": 2.0},
    "force_words_ids": [[4]],
    "constraints": [{}],
    "stop_strings": ["."],
    "max_new_tokens": 20,
    "max_time": 0.5,
    "penalty_alpha": 0.6,
    "dola_layers": "low",
    "token_healing": True,
    "do_sample": True,
    "bad_words_ids": [[1, 2]],
    "forced_eos_token_id": 7,
}
# What transformers 4.57 reads only in training, in beam search or sampling, or for the form of what it returns.
WITHOUT_EFFECT = set(
    re.findall(
        r"\w+",
        """
    _attn_implementation_autoset _from_model_config _name_or_path architectures bos_token_id chunk_size_feed_forward
    dtype finetuning_task id2label label2id prefix problem_type sep_token_id task_specific_params tf_legacy_loss
    tokenizer_class torchscript transformers_version use_bfloat16 num_hidden_layers return_dict use_cache
    activation_dropout attention_dropout dropout decoder_layerdrop encoder_layerdrop init_std
    diversity_penalty early_stopping length_penalty num_beam_groups num_beams num_return_sequences
    epsilon_cutoff eta_cutoff min_p temperature top_k top_p typical_p
    assistant_confidence_threshold assistant_early_exit assistant_lookbehind is_assistant max_matching_ngram_size
    num_assistant_tokens num_assistant_tokens_schedule prompt_lookup_num_tokens target_lookbehind
    cache_config cache_implementation disable_compile low_memory prefill_chunk_size remove_invalid_values
    renormalize_logits output_attentions output_hidden_states output_logits output_scores return_dict_in_generate
    return_legacy_cache
    """,
    )
)
READ = {*OPTIONS, "decoder_vocab_size", "decoder_start_token_id", "pad_token_id", "max_length"}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_option_is_refused_by_name(name):
    with pytest.raises(UnsupportedError, match=f"unsupported MarianMT options: {name}="):
        marian_options.check_options(OPTIONS | {name: UNSUPPORTED[name]})


def test_all_unsupported_options_are_in_one_message():
    with pytest.raises(UnsupportedError) as caught:
        marian.read_config(OPTIONS | UNSUPPORTED)
    message = str(caught.value)
    assert [name for name in UNSUPPORTED if f"{name}={UNSUPPORTED[name]!r} (expected " not in message] == []
    assert "\n" not in message


def test_every_option_that_has_requirements_is_tested_above():
    others = {"bad_words_ids", "forced_eos_token_id"}
    assert (marian_options.NETWORK_OPTIONS | marian_options.SEARCH_OPTIONS).keys() | others == UNSUPPORTED.keys()


def test_every_option_that_transformers_knows_is_read_or_refused_or_without_effect():
    known = {*MarianConfig().to_dict(), *GenerationConfig().to_dict()}
    assert known - READ - WITHOUT_EFFECT - UNSUPPORTED.keys() == set()
    assert not WITHOUT_EFFECT & (READ | UNSUPPORTED.keys())


def test_defaults_of_transformers_are_supported():
    marian_options.check_options(MarianConfig().to_dict())
    marian_options.check_options(GenerationConfig(eos_token_id=0, forced_eos_token_id=0).to_dict())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"encoder_attention_heads": 3}, "encoder_attention_heads=3 does not divide d_model=4"),
        ({"d_model": 0}, "d_model=0"),
        ({"d_model": "4"}, "d_model='4'"),
        ({"d_model": None}, "d_model=None"),
        ({"d_model": True}, "d_model=True"),
        ({"encoder_layers": -1, "vocab_size": 2.5}, "encoder_layers=-1, vocab_size=2.5"),
        ({"decoder_vocab_size": "many"}, "decoder_vocab_size='many'"),
        ({"max_position_embeddings": 1 << 40}, r"max_position_embeddings=1099511627776 \(expected 16 to 16384\)"),
        ({"max_position_embeddings": 15}, r"max_position_embeddings=15 \(expected 16 to 16384\)"),
    ],
)
def test_sizes_that_are_none_are_refused(options, named):
    with pytest.raises((SourceError, UnsupportedError), match=named):
        marian.read_config(OPTIONS | options)


def test_all_misfits_of_the_tensors_are_in_one_message():
    tensors = checkpoint()
    del tensors["model.encoder.layers.0.fc1.weight"]
    tensors["model.decoder.layers.0.fc2.bias"] = np.zeros(7, np.float32)
    tensors["model.encoder.layers.0.fc2.weight"][0, 0] = np.nan
    tensors["model.classifier.weight"] = np.zeros((2, 2), np.float32)
    with pytest.raises(SourceError) as caught:
        map_weights(tensors)
    assert str(caught.value) == (
        "the checkpoint's tensors don't fit its config.json: model.encoder.layers.0.fc1.weight is missing; "
        "model.encoder.layers.0.fc2.weight holds values that are not finite; "
        "model.decoder.layers.0.fc2.bias is [7], expected [4]; model.classifier.weight is not a MarianMT tensor"
    )


@pytest.mark.parametrize("size", ["d_model", "vocab_size", "encoder_ffn_dim", "decoder_ffn_dim"])
@pytest.mark.parametrize("number", [8, 1 << 40])
def test_sizes_that_the_tensors_do_not_bear_out_are_refused_without_making_room_for_them(size, number):
    with pytest.raises(SourceError, match=f"don't fit its config.json: .*expected .*{number}"):
        map_weights(checkpoint(), OPTIONS | {size: number})


def test_layers_that_the_checkpoint_has_not_are_refused_at_once():
    with pytest.raises(SourceError, match=r"model\.encoder\.layers\.1\..* is missing; .* and \d+ more"):
        map_weights(checkpoint(), OPTIONS | {"encoder_layers": 1 << 40})


def test_layers_that_the_configuration_lacks_are_refused():
    tensors = checkpoint() | {"model.encoder.layers.1.fc1.bias": np.zeros(FFN, np.float32)}
    with pytest.raises(SourceError, match=r"model\.encoder\.layers\.1\.fc1\.bias is not a MarianMT tensor"):
        map_weights(tensors)


def test_search_options_of_config_json_count_only_without_a_generation_config():
    config = OPTIONS | {"min_length": 5, "bad_words_ids": [[3]], "forced_eos_token_id": 0}
    assert marian_options.merge_options(config, None) == config
    merged = marian_options.merge_options(config, {"max_length": 50, "eos_token_id": 1})
    assert merged == OPTIONS | {"max_length": 50, "eos_token_id": 1}
