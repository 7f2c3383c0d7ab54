"""A Hugging Face checkpoint of a decoder-only model to a `CausalLMModel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from edgekit.bundle.generation import TextGeneration
from edgekit.errors import SourceError
from edgekit.export.architectures import gemma3, gpt2, llama, qwen
from edgekit.export.architectures.decoder_options import Options, check_search_options
from edgekit.export.architectures.decoder_weights import DecoderNames, map_decoder_weights
from edgekit.export.model import CausalLMModel
from edgekit.export.sources.checkpoint import Checkpoint
from edgekit.export.sources.config_file import read_json
from edgekit.export.sources.tensor_files import read_tensors
from edgekit.export.tokenizer.hub_tokenizer import HubTokenizerFiles, read_hub_tokenizer
from edgekit.graph.causal_lm_config import CausalLMConfig


class Architecture(NamedTuple):
    """How one ``model_type`` is read: its configuration, its tensors' names, its biases."""

    read_config: Callable[[Options], CausalLMConfig]
    read_names: Callable[[Options], DecoderNames]
    read_biases: Callable[[Options], frozenset[str]]


ARCHITECTURES = {
    "llama": Architecture(llama.read_config, llama.read_names, llama.read_biases),
    "qwen2": Architecture(qwen.read_config, qwen.read_names, qwen.read_biases),
    "qwen3": Architecture(qwen.read_config, qwen.read_names, qwen.read_biases),
    "gpt2": Architecture(gpt2.read_config, gpt2.read_names, gpt2.read_biases),
    "gemma3_text": Architecture(gemma3.read_config, gemma3.read_names, gemma3.read_biases),
}


def read_causal_lm(checkpoint: Checkpoint) -> CausalLMModel:
    """Reads config.json, generation_config.json, the weights and the tokenizer.

    Raises:
        UnsupportedError: Options that are not implemented, all in one message.
        SourceError: A file is damaged, or the files don't fit each other.
    """
    files = checkpoint.files
    options = read_json(files["config"], "the model's configuration")
    architecture = ARCHITECTURES[options["model_type"]]
    config = architecture.read_config(options)
    stored = read_json(files["generation_config"], "generation_config.json") if "generation_config" in files else {}
    check_search_options(stored or options)  # as in transformers, where the one file replaces the other
    tokenizer = read_hub_tokenizer(files, config.vocab_size)
    weights = map_decoder_weights(
        config, architecture.read_names(options), read_tensors(files), architecture.read_biases(options)
    )
    return CausalLMModel(
        config=config,
        weights=weights,
        generation=read_text_generation(config.vocab_size, config.context_length, {**options, **stored}, tokenizer),
        tokenizer_json=tokenizer.text,
        vocab_size=config.vocab_size,
        chat_template=tokenizer.chat_template,
        special_tokens=tokenizer.special_tokens,
    )


def read_text_generation(
    vocab_size: int, context_length: int, options: Options, tokenizer: HubTokenizerFiles
) -> TextGeneration:
    """Token ids, from generation_config.json, else config.json, else the tokenizer's own special tokens.

    Args:
        vocab_size: ids are below it.
        context_length: most tokens of prompt and text.
        options: both files', the former's before the latter's.
        tokenizer: the model's.

    Raises:
        SourceError: ids outside the vocabulary.
    """
    ids: dict[str, Any] = {}
    for name in ("bos", "eos", "pad"):
        stated = options.get(f"{name}_token_id")
        ids[name] = tokenizer.special_ids.get(f"{name}_token") if stated is None else stated
    ends = ids["eos"] if isinstance(ids["eos"], list) else [ids["eos"]] * (ids["eos"] is not None)
    wrong = [f"eos_token_id={index!r:.60}" for index in ends if not _is_id(index, vocab_size)]
    # Of padding and an unused BOS, some checkpoints name ids that they lack (-1, or one past the end).
    wrong += [
        f"{name}_token_id={ids[name]!r:.60}" for name in ("bos", "pad") if type(ids[name]) not in (int, type(None))
    ]
    if wrong:
        raise SourceError(f"config.json: expected ids below the vocabulary's {vocab_size}, found {', '.join(wrong)}")
    bos = tokenizer.bos_token_id
    return TextGeneration(
        bos_token_id=ids["bos"] if bos is None and _is_id(ids["bos"], vocab_size) else bos,
        eos_token_ids=tuple(dict.fromkeys(ends)),
        pad_token_id=ids["pad"] if _is_id(ids["pad"], vocab_size) else None,
        context_length=context_length,
        adds_bos=bos is not None,
    )


def _is_id(index: object, vocab_size: int) -> bool:
    return type(index) is int and 0 <= index < vocab_size
