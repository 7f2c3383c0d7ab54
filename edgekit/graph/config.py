"""What an encoder-decoder is, in numbers and names: all that the graph builder and the numpy reference ask for.

In: values a checkpoint declares. Out: `Seq2SeqConfig`, stored as ``architecture`` in a bundle's manifest, so that a
bundle's graphs can be built again (``edgekit quantize``). Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from edgekit.errors import UnsupportedError

ACTIVATION_FUNCTIONS = ("relu", "gelu", "gelu_tanh", "swish")
DECODER_CELLS = ("self_attention", "ssru")
NORM_POSITIONS = ("post", "pre")
NORMS = ("layer", "rms")
POSITIONS = ("shared", "separate", "relative")


@dataclass(frozen=True)
class Seq2SeqConfig:
    """A transformer encoder-decoder.

    A linear layer has a bias where the weights have one; so does the output layer.

    Attributes:
        model_type: the checkpoint's own name of its architecture ("marian", "bergamot", "t5", ...).
        d_model: width of the residual stream; divisible by both head counts unless `head_dim` is given.
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
        max_position_embeddings: positions that the tables know; no sequence may be longer.
        embed_scale: factor on every looked-up embedding (``sqrt(d_model)`` or 1).
        layer_norm_epsilon: added to the variance (with "rms" the mean square) inside the root.
        shared_embeddings: the target side embeds with ``source_embedding.weight``.
        tied_output: the output layer is the target embedding, transposed.
        has_shortlist: the encoder graph takes a lexical shortlist and hands its output rows to the decoder.
        norm_position: "post" (a block is ``x = norm(x + block(x))``) or "pre" (``x = x + block(norm(x))``).
        norm: "layer" (layer normalisation, with a bias) or "rms" (root mean square, without).
        positions: "shared" (``positions.weight`` is added to both sides' embeddings), "separate" (each side has its
            own table) or "relative" (a bias by distance on self-attention's scores, one for all layers of a side).
        embedding_norm: embeddings are normalised, positions included.
        final_norm: a norm stands behind the last layer of each side.
        gated_ffn: ``down(activation(gate(x)) * up(x))`` instead of ``down(activation(up(x)))``.
        attention_scaled: attention's products are divided by the root of a head's width.
        head_dim: width of a head; None for d_model over the heads.
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
    norm_position: str = "post"
    norm: str = "layer"
    positions: str = "shared"
    embedding_norm: bool = False
    final_norm: bool = False
    gated_ffn: bool = False
    attention_scaled: bool = True
    head_dim: int | None = None

    def __post_init__(self) -> None:
        """Refuses, all at once, values that no graph here has (`UnsupportedError`)."""
        problems = [
            f"{name}={getattr(self, name)!r} (expected one of {', '.join(choices)})"
            for name, choices in _CHOICES.items()
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
        if self.head_dim is not None and (type(self.head_dim) is not int or self.head_dim < 1):
            problems.append(f"head_dim={self.head_dim!r} (expected a whole number above 0 or null)")
        if not problems and self.head_dim is None:
            problems = [
                f"{name}={getattr(self, name)} does not divide d_model={self.d_model}"
                for name in ("encoder_attention_heads", "decoder_attention_heads")
                if self.d_model % getattr(self, name)
            ]
        if self.decoder_cell == "ssru" and (self.norm_position, self.norm, self.positions) != _SSRU:
            problems.append(
                "decoder_cell='ssru' (expected self_attention but for post-norm layers and shared positions)"
            )
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

    @property
    def encoder_head_dim(self) -> int:
        """Width of a head of the encoder's attention."""
        return self.head_dim or self.d_model // self.encoder_attention_heads

    @property
    def decoder_head_dim(self) -> int:
        """Width of a head of the decoder's attention."""
        return self.head_dim or self.d_model // self.decoder_attention_heads

    @property
    def encoder_width(self) -> int:
        """Width of the encoder's queries, keys and values: all heads side by side."""
        return self.encoder_attention_heads * self.encoder_head_dim

    @property
    def decoder_width(self) -> int:
        """Width of the decoder's queries, keys and values: all heads side by side."""
        return self.decoder_attention_heads * self.decoder_head_dim

    def positions_weight(self, side: str) -> str:
        """Name of the table of positions of the "encoder" or "decoder".

        Added to embeddings: ``float32 [max_position_embeddings, d_model]``. Relative: ``float32 [heads, distances]``,
        for the encoder's key minus query from ``1 - max_position_embeddings`` up to its negative, for the decoder's
        query minus key from ``max_position_embeddings - 1`` down to 0.
        """
        return {
            "shared": "positions.weight",
            "separate": f"{side}.positions.weight",
            "relative": f"{side}.relative_positions.weight",
        }[self.positions]

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as the manifest stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Seq2SeqConfig:
        """Reads `to_dict`'s form; raises `UnsupportedError` naming every missing and unknown field.

        Options that came later may be missing: they have what the older models are.
        """
        names = {field.name for field in fields(cls)}
        optional = {field.name for field in fields(cls) if field.default is not MISSING} - {"has_shortlist"}
        wrong = sorted((names.symmetric_difference(values)) - (optional - values.keys()))
        if wrong:
            raise UnsupportedError(f"not an encoder-decoder architecture of this edgekit: check {', '.join(wrong)}")
        return cls(**values)


_CHOICES = {
    "activation_function": ACTIVATION_FUNCTIONS,
    "decoder_cell": DECODER_CELLS,
    "norm_position": NORM_POSITIONS,
    "norm": NORMS,
    "positions": POSITIONS,
}
_SSRU = ("post", "layer", "shared")
_SIZES, _FACTORS, _SWITCHES = (
    tuple(field.name for field in fields(Seq2SeqConfig) if field.type == kind) for kind in ("int", "float", "bool")
)
