"""BART and its relatives (``bart``, ``mbart``, ``pegasus``, ``m2m_100`` with NLLB): config.json and names of tensors.

They differ in where norms stand and what positions are, which is all in `VARIANTS`. Options, defaults and names follow
transformers' configuration_*.py and modeling_*.py of each (4.57). `seq2seq_options` says what is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.export.architectures import bergamot, marian
from edgekit.export.architectures.seq2seq_options import ACTIVATIONS, Options, check_options, read_sizes
from edgekit.export.architectures.seq2seq_weights import Seq2SeqNames
from edgekit.graph.config import Seq2SeqConfig

SIZES = {
    name: name
    for name in (
        "d_model",
        "encoder_layers",
        "decoder_layers",
        "encoder_attention_heads",
        "decoder_attention_heads",
        "encoder_ffn_dim",
        "decoder_ffn_dim",
        "max_position_embeddings",
    )
} | {"source_vocab_size": "vocab_size", "target_vocab_size": "vocab_size"}
OPTIONS: dict[str, tuple[Any, ...]] = {
    "activation_function": tuple(ACTIVATIONS),
    "scale_embedding": (True, False),
    "tie_word_embeddings": (True, False),
}
LAYER_NORM_EPSILON = 1e-5  # torch.nn.LayerNorm's default


@dataclass(frozen=True)
class Variant:
    """What sets one of the family apart.

    Attributes:
        norm_position: As `Seq2SeqConfig`'s.
        embedding_norm: Likewise.
        final_norm: Likewise.
        formula: Positions by formula, ``(rows, d_model)``; None where they are learned.
        learned_offset: Rows of a learned table before the first position's.
        first_position: The row of a formula's table that the first token has.
        scale_embedding: The default of the option.
    """

    norm_position: str
    embedding_norm: bool
    final_norm: bool
    formula: Callable[[int, int], np.ndarray] | None = None
    learned_offset: int = 0
    first_position: int = 0
    scale_embedding: bool = False


VARIANTS = {
    "bart": Variant("post", embedding_norm=True, final_norm=False, learned_offset=2),
    "mbart": Variant("pre", embedding_norm=True, final_norm=True, learned_offset=2),
    "pegasus": Variant("pre", embedding_norm=False, final_norm=True, formula=marian.sinusoids),
    # fairseq's positions begin behind the padding's id, which is 1 wherever there is one.
    "m2m_100": Variant(
        "pre",
        embedding_norm=False,
        final_norm=True,
        formula=bergamot.sinusoids,
        first_position=2,
        scale_embedding=True,
    ),
}


def read_config(options: Options, tensors: Collection[str] = ()) -> Seq2SeqConfig:
    """The configuration that config.json declares; the names of ``tensors`` add nothing to it.

    Raises:
        UnsupportedError: Values that are not implemented, all in one message.
        SourceError: A size is missing or is none.
    """
    variant = VARIANTS[options["model_type"]]
    padding = {"pad_token_id": (1,)} if variant.first_position else {}
    check_options(options, OPTIONS | padding)
    sizes = read_sizes(options, SIZES)
    return Seq2SeqConfig(
        **sizes,
        model_type=options["model_type"],
        activation_function=ACTIVATIONS[options.get("activation_function", "gelu")],
        decoder_cell="self_attention",
        embed_scale=math.sqrt(sizes["d_model"]) if options.get("scale_embedding", variant.scale_embedding) else 1.0,
        layer_norm_epsilon=LAYER_NORM_EPSILON,
        shared_embeddings=True,
        tied_output=options.get("tie_word_embeddings", True),
        norm_position=variant.norm_position,
        positions="shared" if variant.formula else "separate",
        embedding_norm=variant.embedding_norm,
        final_norm=variant.final_norm,
    )


def read_names(options: Options) -> Seq2SeqNames:
    """What the checkpoint calls its weights."""
    variant = VARIANTS[options["model_type"]]

    def positions(config: Seq2SeqConfig) -> np.ndarray:
        assert variant.formula is not None
        rows = config.max_position_embeddings + variant.first_position
        return variant.formula(rows, config.d_model)[variant.first_position :]

    norms = {"embedding_norm": "layernorm_embedding"} if variant.embedding_norm else {}
    return Seq2SeqNames(
        embeddings=("shared", "encoder.embed_tokens", "decoder.embed_tokens"),
        output="lm_head",
        layer="{side}.layers.{layer}.",
        encoder=marian.ENCODER_LAYER | {ours: (theirs,) for ours, theirs in marian.ENCODER_NORMS.items()},
        decoder=marian.DECODER_LAYER | {ours: (theirs,) for ours, theirs in marian.DECODER_NORMS.items()},
        side="{side}.",
        norms=norms | ({"final_norm": "layer_norm"} if variant.final_norm else {}),
        positions=None if variant.formula else "embed_positions",
        formula=positions if variant.formula else None,
        position_offset=variant.learned_offset,
        output_bias="final_logits_bias",
        prefix="model.",
        # Versions of fairseq's modules; tables of positions by formula, which older checkpoints store.
        ignored=r"(en|de)coder\.version" + (r"|(en|de)coder\.embed_positions\.weights?" if variant.formula else ""),
    )
