"""Options that encoder-decoder checkpoints have in common: refusals, sizes, and how search begins and ends.

In: config.json and generation_config.json, merged as `marian_options.merge_options` does. Out: values for
`Seq2SeqConfig` and a `Generation`. An option that changes what the network calculates or what greedy search finds is
implemented or refused by name; ``min_length``, ``min_new_tokens`` and ``no_repeat_ngram_size`` are implemented. What
checkpoints only recommend is left to the caller, who is told: see `unapplied`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.bundle.generation import Generation
from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.architectures.decoder_options import ACTIVATIONS as _ACTIVATIONS
from edgekit.export.architectures.marian_options import SEARCH_OPTIONS as MARIAN_SEARCH_OPTIONS
from edgekit.graph.config import Seq2SeqConfig
from edgekit.runtime.batching import LENGTH_MULTIPLE

Options = Mapping[str, Any]

ACTIVATIONS = _ACTIVATIONS | {"relu": "relu"}
# Of PretrainedConfig, whatever the architecture.
COMMON_OPTIONS: dict[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (True,),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False,),
    "quantization_config": (None,),
    "pruned_heads": (None, {}),
}
_RULES = {"no_repeat_ngram_size", "min_length", "min_new_tokens", "forced_bos_token_id"}
_IGNORED: dict[str, tuple[Any, ...]] = {
    "num_beams": (1, None),
    "length_penalty": (1, None),
    "early_stopping": (False, None),
    "repetition_penalty": (1, None),
    "do_sample": (False, None),
}
# What a caller of a search can ask for.
_ASKED_FOR = {"num_beams": "beams", "length_penalty": "length_penalty", "early_stopping": "early_stopping"}
SEARCH_OPTIONS = {
    name: allowed
    for name, allowed in MARIAN_SEARCH_OPTIONS.items()
    if name not in {*_RULES, *_IGNORED, "max_new_tokens"}
}
MOST_LAYERS = 1 << 10
MOST_POSITIONS = 1 << 14
LEAST_POSITIONS = 16  # what `edgekit.graph.check` runs
# A translation has at most three tokens a source token; another text, whatever the model's own limit allows.
TRANSLATION_FACTOR = 3.0
_UNLIMITED_FACTOR = float(MOST_POSITIONS)


def check_options(options: Options, allowed: Mapping[str, tuple[Any, ...]]) -> None:
    """Raises `UnsupportedError` that names every option whose value is not implemented."""
    wrong = [
        f"{name}={options[name]!r:.120} (expected {' or '.join(map(repr, values))})"
        for name, values in {**COMMON_OPTIONS, **SEARCH_OPTIONS, **allowed}.items()
        if name in options and not any(options[name] == value for value in values)
    ]
    bad_words = options.get("bad_words_ids") or []
    if not isinstance(bad_words, list) or any(not isinstance(word, list) or len(word) != 1 for word in bad_words):
        wrong.append(f"bad_words_ids={bad_words!r:.120} (expected lists of one id each)")
    eos = options.get("eos_token_id")
    if type(eos) is int and options.get("forced_eos_token_id") not in (None, eos):
        wrong.append(f"forced_eos_token_id={options['forced_eos_token_id']!r:.120} (expected eos_token_id, {eos!r})")
    if wrong:
        raise UnsupportedError(f"unsupported {options['model_type']} options: {'; '.join(wrong)}")


def read_sizes(options: Options, names: Mapping[str, str]) -> dict[str, Any]:
    """Sizes by our name, of theirs; raises `SourceError` naming those that are missing or beyond any model's."""
    sizes: dict[str, Any] = {}
    wrong = []
    for ours, theirs in names.items():
        value = options.get(theirs)
        most = MOST_LAYERS if ours.endswith("_layers") else MOST_POSITIONS if ours.endswith("embeddings") else 1 << 31
        least = LEAST_POSITIONS if ours.endswith("embeddings") else 1
        if type(value) is not int or not least <= value <= most:
            wrong.append(f"{theirs}={value!r:.120} (expected {least} to {most})")
        else:
            sizes[ours] = value
    if wrong:
        raise SourceError(
            f"config.json: expected whole numbers, found {', '.join(wrong)}; "
            f"is this a {options['model_type']} checkpoint?"
        )
    return sizes


def unapplied(options: Options) -> tuple[str, ...]:
    """What the checkpoint recommends for search and edgekit does not do by itself, a line each for whoever exports it.

    Beams cost several times a greedy search, so that they are the caller's choice; they go with their two settings.
    """
    found = {name: options[name] for name, usual in _IGNORED.items() if options.get(name, usual[0]) not in usual}
    if found.get("num_beams") is None:
        found = {name: value for name, value in found.items() if name not in ("length_penalty", "early_stopping")}
    asked = ", ".join(f"{ours}={found[theirs]!r:.40}" for theirs, ours in _ASKED_FOR.items() if theirs in found)
    ignored = ", ".join(f"{name}={value!r:.40}" for name, value in found.items() if name not in _ASKED_FOR)
    lines = []
    if asked:
        lines.append(f"the checkpoint recommends beam search; edgekit searches greedily unless asked: {asked}")
    if ignored:
        lines.append(f"the checkpoint recommends {ignored}, which edgekit does not apply: outputs may differ")
    return tuple(lines)


def read_generation(
    config: Seq2SeqConfig,
    options: Options,
    unk_token_id: int | None,
    *,
    is_translation: bool,
    prefix: tuple[int, ...] = (),
) -> Generation:
    """Token ids and limits; transformers counts the start token and a forced EOS in ``max_length``.

    Args:
        config: sizes.
        options: config.json and generation_config.json.
        unk_token_id: id of text outside the vocabulary.
        is_translation: whether targets are about as long as their sources.
        prefix: ids that stand before every source.
    """
    ids: dict[str, Any] = {name: _single(options.get(name)) for name in ("decoder_start_token_id", "eos_token_id")}
    for name in ("pad_token_id", "forced_bos_token_id"):
        if options.get(name) is not None:
            ids[name] = options[name]
    wrong = [f"{k}={v!r:.120}" for k, v in ids.items() if type(v) is not int or not 0 <= v < config.target_vocab_size]
    if wrong:
        raise SourceError(f"config.json: expected ids within the vocabulary, found {', '.join(wrong)}")
    positions = config.max_position_embeddings
    longest = options.get("max_length") or positions
    if type(longest) is not int or longest < 1:
        raise SourceError(f"config.json: expected a whole number above 0 for max_length, found {longest!r:.120}")
    forces_eos = options.get("forced_eos_token_id") is not None
    return Generation(
        start_token_id=ids["decoder_start_token_id"],
        eos_token_id=ids["eos_token_id"],
        pad_token_id=ids.get("pad_token_id"),
        unk_token_id=unk_token_id,
        # Sources are padded to whole fours, and padding has positions too.
        max_source_tokens=positions // LENGTH_MULTIPLE * LENGTH_MULTIPLE,
        max_length=max(1, min(longest, positions) - (2 if forces_eos else 1)),
        max_length_factor=TRANSLATION_FACTOR if is_translation else _UNLIMITED_FACTOR,
        forces_eos=forces_eos,
        forced_first_token_id=ids.get("forced_bos_token_id"),
        source_prefix=prefix,
        **read_rules(options),
    )


def read_rules(options: Options) -> dict[str, int]:
    """What a search may not do, as `Generation`'s ``min_length`` and ``no_repeat_ngram_size``.

    transformers counts the start token in ``min_length``, and ``min_new_tokens`` goes before it.

    Raises:
        SourceError: One of them is no whole number, or out of range.
    """
    least = _whole(options, "min_new_tokens") or max(0, _whole(options, "min_length") - 1)
    return {"min_length": least, "no_repeat_ngram_size": _whole(options, "no_repeat_ngram_size")}


def _whole(options: Options, name: str) -> int:
    value = options.get(name) or 0
    if type(value) is not int or not 0 <= value <= MOST_POSITIONS:
        raise SourceError(f"config.json: expected 0 to {MOST_POSITIONS} for {name}, found {value!r:.120}")
    return value


def _single(value: object) -> object:
    """A list of one is what it holds: transformers 5 writes either."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
