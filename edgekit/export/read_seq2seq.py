"""A Hugging Face checkpoint of an encoder-decoder other than MarianMT to a `Seq2SeqModel`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from edgekit.bundle.manifest import TokenizerFiles
from edgekit.export.architectures import bart, t5
from edgekit.export.architectures.marian_options import merge_options
from edgekit.export.architectures.seq2seq_options import Options, read_generation, unapplied
from edgekit.export.architectures.seq2seq_weights import Seq2SeqNames, forbidden_ids, map_weights
from edgekit.export.model import Seq2SeqModel
from edgekit.export.sources.checkpoint import Checkpoint
from edgekit.export.sources.config_file import read_json
from edgekit.export.sources.tensor_files import read_tensors
from edgekit.export.tokenizer.seq2seq import read_seq2seq_tokenizer
from edgekit.graph.config import Seq2SeqConfig

TOKENIZER_FILE = "tokenizer.json"


class Architecture(NamedTuple):
    """How one ``model_type`` is read: its configuration, given the names of its tensors, and what they mean."""

    read_config: Callable[[Options, Collection[str]], Seq2SeqConfig]
    read_names: Callable[[Options], Seq2SeqNames]


_BART, _T5 = Architecture(bart.read_config, bart.read_names), Architecture(t5.read_config, t5.read_names)
ARCHITECTURES = {"t5": _T5, "mt5": _T5, "bart": _BART, "mbart": _BART, "pegasus": _BART, "m2m_100": _BART}


def read_seq2seq(checkpoint: Checkpoint) -> Seq2SeqModel:
    """Reads config.json, generation_config.json, the weights and the tokenizer.

    Raises:
        UnsupportedError: Options that are not implemented, all in one message.
        SourceError: A file is damaged, or the files don't fit each other.
    """
    files = checkpoint.files
    generation = (
        read_json(files["generation_config"], "generation_config.json") if "generation_config" in files else None
    )
    options = merge_options(read_json(files["config"], "the model's configuration"), generation)
    options["model_type"] = model_type = str(checkpoint.model_type)
    architecture = ARCHITECTURES[model_type]
    tensors = read_tensors(files)
    config = architecture.read_config(options, tensors)
    tokenizer = read_seq2seq_tokenizer(files, model_type, config.source_vocab_size)
    if tokenizer.languages is not None and options.get("decoder_start_token_id") is None:
        options["decoder_start_token_id"] = options.get("eos_token_id")  # a language's token takes its place
    sizes = config.source_vocab_size, config.target_vocab_size
    return Seq2SeqModel(
        config=config,
        weights=map_weights(
            config, architecture.read_names(options), tensors, forbidden_ids(options, config.target_vocab_size)
        ),
        generation=read_generation(
            config,
            options,
            tokenizer.unk_token_id,
            is_translation=checkpoint.task == "translation",
            prefix=tokenizer.prefix,
        ),
        tokenizers={TOKENIZER_FILE: tokenizer.text},
        tokenizer_files=TokenizerFiles(TOKENIZER_FILE, TOKENIZER_FILE, *sizes, tokenizer.form),
        language_tokens=tokenizer.languages,
        unapplied=unapplied(options),
    )
