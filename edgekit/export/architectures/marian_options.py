"""Which options of a MarianMT checkpoint are implemented, and which are refused.

In: config.json and generation_config.json. Every option of MarianConfig and GenerationConfig in transformers 4.57
is either implemented, or refused by name, or without effect on search. ``num_beams``, ``length_penalty`` and
``early_stopping`` are among the last on purpose: most checkpoints ask for 4 or 6 beams, and edgekit translates greedily
unless its caller asks for beams. An option that transformers doesn't know changes nothing there, nor here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.errors import UnsupportedError

ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "swish": "swish", "silu": "swish"}

# Options that change the network, and the only values implemented.
NETWORK_OPTIONS: dict[str, tuple[Any, ...]] = {
    "model_type": ("marian",),
    "is_encoder_decoder": (True,),
    "activation_function": tuple(ACTIVATIONS),
    "normalize_before": (False,),
    "normalize_embedding": (False,),
    "add_final_layer_norm": (False,),
    "add_bias_logits": (False,),
    "static_position_embeddings": (True,),
    "extra_pos_embeddings": (0,),
    "scale_embedding": (False, True),
    "share_encoder_decoder_embeddings": (True, False),
    "tie_word_embeddings": (True, False),
    "add_cross_attention": (False,),
    "is_decoder": (False,),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False,),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
}
# The same for options that change what greedy search finds.
SEARCH_OPTIONS: dict[str, tuple[Any, ...]] = {
    "no_repeat_ngram_size": (0, None),
    "encoder_no_repeat_ngram_size": (0, None),
    "repetition_penalty": (1, None),
    "encoder_repetition_penalty": (1, None),
    "min_length": (0, None),
    "min_new_tokens": (0, None),
    "forced_bos_token_id": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "sequence_bias": (None, {}, []),
    "exponential_decay_length_penalty": (None,),
    "guidance_scale": (None, 1),
    "watermarking_config": (None,),
    "force_words_ids": (None, []),
    "constraints": (None, []),
    "stop_strings": (None, []),
    "max_new_tokens": (None,),
    "max_time": (None,),
    "penalty_alpha": (None, 0),
    "dola_layers": (None,),
    "token_healing": (False, None),
    "do_sample": (False, None),
}
# What goes with beam search, which is the caller's.
BEAM_OPTIONS = ("num_beams", "length_penalty", "early_stopping")


def merge_options(config: Mapping[str, Any], generation: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options of config.json and generation_config.json; with the latter, the former says nothing about search.

    transformers' PreTrainedModel.from_pretrained and GenerationMixin do the same; only token ids are taken from either.
    """
    if generation is None:
        return dict(config)
    search = {*SEARCH_OPTIONS, *BEAM_OPTIONS, "bad_words_ids", "forced_eos_token_id", "max_length"}
    return {name: value for name, value in config.items() if name not in search} | dict(generation)


def check_options(options: Mapping[str, Any]) -> None:
    """Raises `UnsupportedError` naming every option whose value is not implemented."""
    wrong = [
        f"{name}={options[name]!r} (expected {' or '.join(map(repr, allowed))})"
        for name, allowed in (NETWORK_OPTIONS | SEARCH_OPTIONS).items()
        if name in options and options[name] not in allowed
    ]
    bad_words = options.get("bad_words_ids") or []
    if not isinstance(bad_words, list) or any(not isinstance(w, list) or len(w) != 1 for w in bad_words):
        wrong.append(f"bad_words_ids={bad_words!r} (expected lists of one id each)")
    eos = options.get("eos_token_id")
    if type(eos) is int and options.get("forced_eos_token_id") not in (None, eos):
        wrong.append(f"forced_eos_token_id={options['forced_eos_token_id']!r} (expected eos_token_id, {eos!r})")
    if wrong:
        raise UnsupportedError(f"unsupported MarianMT options: {'; '.join(wrong)}")
