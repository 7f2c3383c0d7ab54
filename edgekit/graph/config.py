"""What an encoder-decoder is, in numbers and names: all that the graph builder and the numpy reference ask for.

In: values a checkpoint declares. Out: `Seq2SeqConfig`, stored as ``architecture`` in a bundle's manifest, so that a
bundle's graphs can be built again (``edgekit quantize``). Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgekit.errors import UnsupportedError

ACTIVATION_FUNCTIONS = ("relu", "gelu", "swish")
DECODER_CELLS = ("self_attention", "ssru")


@dataclass(frozen=True)
class Seq2SeqConfig:
    """A post-norm transformer encoder-decoder; every block is ``x = layer_norm(x + block(x))``.

    Attributes:
        model_type: the checkpoint's own name of its architecture ("marian", "bergamot").
        d_model: width of the residual stream; divisible by both head counts.
        encoder_layers: number of encoder layers, each self-attention then feed-forward.
        decoder_layers: number of decoder layers, each `decoder_cell`, cross-attention, feed-forward.
        encoder_attention_heads: heads of the encoder's self-attention.
        decoder_attention_heads: heads of the decoder's self- and cross-attention.
        encoder_ffn_dim: inner width of the encoder's feed-forward block.
        decoder_ffn_dim: inner width of the decoder's feed-forward block.
        activation_function: one of `ACTIVATION_FUNCTIONS`, inside the feed-forward blocks.
        decoder_cell: "self_attention" (a key-value cache) or "ssru" (one recurrent vector a layer).
        source_vocab_size: rows of ``source_embedding.weight``.
        target_vocab_size: rows of the output layer; ids at or above it are never produced.
        max_position_embeddings: rows of ``positions.weight``; no sequence may be longer.
        embed_scale: factor on every looked-up embedding (``sqrt(d_model)`` or 1).
        layer_norm_epsilon: added to the variance inside the root.
        shared_embeddings: the target side embeds with ``source_embedding.weight``.
        tied_output: the output layer is the target embedding, transposed.
        has_shortlist: the encoder graph takes a lexical shortlist and hands its output rows to the decoder.
    """

    model_type: str
    d_model: int
    encoder_layers: int
    decoder_layers: int
    encoder_attention_heads: int
    decoder_attention_heads: int
    encoder_ffn_dim: int
    decoder_ffn_dim: int
    activation_function: str
    decoder_cell: str
    source_vocab_size: int
    target_vocab_size: int
    max_position_embeddings: int
    embed_scale: float
    layer_norm_epsilon: float
    shared_embeddings: bool
    tied_output: bool
    has_shortlist: bool = False

    def __post_init__(self) -> None:
        """Refuses, all at once, values that no graph here has (`UnsupportedError`)."""
        problems = [
            f"{name}={getattr(self, name)!r} (expected one of {', '.join(choices)})"
            for name, choices in (("activation_function", ACTIVATION_FUNCTIONS), ("decoder_cell", DECODER_CELLS))
            if getattr(self, name) not in choices
        ]
        problems += [
            f"{name}={getattr(self, name)!r} (expected a whole number above 0)"
            for name in _SIZES
            if type(getattr(self, name)) is not int or getattr(self, name) < 1
        ]
        problems += [
            f"{name}={getattr(self, name)!r} (expected a number above 0)"
            for name in _FACTORS
            if type(getattr(self, name)) not in (int, float) or not 0 < getattr(self, name) < float("inf")
        ]
        problems += [
            f"{name}={getattr(self, name)!r} (expected true or false)"
            for name in _SWITCHES
            if not isinstance(getattr(self, name), bool)
        ]
        if not problems:
            problems = [
                f"{name}={getattr(self, name)} does not divide d_model={self.d_model}"
                for name in ("encoder_attention_heads", "decoder_attention_heads")
                if self.d_model % getattr(self, name)
            ]
        if problems:
            raise UnsupportedError(f"unsupported {self.model_type} configuration: {'; '.join(problems)}")

    @property
    def target_embedding(self) -> str:
        """Name of the weight ``float32|int8 [target_vocab_size, d_model]`` that embeds target ids."""
        return "source_embedding.weight" if self.shared_embeddings else "target_embedding.weight"

    @property
    def output_weight(self) -> str:
        """Name of the output layer's weight, ``[target_vocab_size, d_model]``."""
        return self.target_embedding if self.tied_output else "output.weight"

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as the manifest stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Seq2SeqConfig:
        """Reads `to_dict`'s form; raises `UnsupportedError` naming every missing and unknown field."""
        names = {field.name for field in fields(cls)}
        wrong = sorted(names.symmetric_difference(values))
        if wrong:
            raise UnsupportedError(f"not an encoder-decoder architecture of this edgekit: check {', '.join(wrong)}")
        return cls(**values)


_SIZES, _FACTORS, _SWITCHES = (
    tuple(field.name for field in fields(Seq2SeqConfig) if field.type == kind) for kind in ("int", "float", "bool")
)
