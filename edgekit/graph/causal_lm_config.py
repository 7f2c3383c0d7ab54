"""What a decoder-only model is, in numbers and names: all that its graph and the numpy reference ask for.

In: values that a checkpoint declares. Out: `CausalLMConfig`, stored as ``architecture`` in a bundle's manifest, so that
a bundle's graph can be built again (``edgekit quantize``). Nothing here reads a file. Whether a layer has a bias is not
said here: it has one where the weight exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgekit.bundle.generation import MAX_TOKENS
from edgekit.bundle.manifest import MAX_VOCAB_SIZE
from edgekit.errors import UnsupportedError

ACTIVATION_FUNCTIONS = ("swish", "gelu", "gelu_tanh")
NORMS = ("rms", "layer")
POSITIONS = ("rotary", "learned")
# GroupQueryAttention takes no other heads; those that it rotates are multiples of 16.
HEAD_DIM_MULTIPLES = {"learned": 8, "rotary": 16}


@dataclass(frozen=True)
class CausalLMConfig:
    """A pre-norm transformer decoder; every block is ``x = x + block(norm(x))``.

    Attributes:
        model_type: the checkpoint's own name of its architecture ("llama", "qwen2", "gpt2").
        d_model: width of the residual stream.
        layers: number of layers, each attention then feed-forward.
        attention_heads: heads of the queries.
        key_value_heads: heads of keys and values; divides `attention_heads`.
        head_dim: width of one head; a multiple of 16, or of 8 with learned positions.
        ffn_dim: inner width of the feed-forward block.
        activation_function: one of `ACTIVATION_FUNCTIONS` ("gelu_tanh" is GPT-2's ``gelu_new``).
        gated_ffn: the block is ``down(activation(gate(x)) * up(x))``, else ``down(activation(up(x)))``.
        norm: "rms" (https://arxiv.org/abs/1910.07467) or "layer".
        norm_epsilon: added to the mean square, or the variance, inside the root.
        position: "rotary" (https://arxiv.org/abs/2104.09864) or "learned" (``positions.weight``).
        rope_theta: base of the rotary wavelengths; 0 without them.
        rope_scaling: the checkpoint's ``rope_scaling``, see `edgekit.graph.rotary`; None for none.
        rotary_interleaved: pairs are neighbours (GPT-J's order) instead of the two halves of a head.
        vocab_size: rows of ``embedding.weight`` and of the output layer.
        context_length: most tokens of a sequence.
        embed_scale: factor on every looked-up embedding.
        tied_output: the output layer is the embedding.
        query_key_norm: queries and keys are normalised head by head before they are rotated.
        attention_scale: factor on every query-key product; None for ``1 / sqrt(head_dim)``.
        post_norms: what a block gives is normalised before it is added, too (``x = x + norm(block(norm(x)))``).
        local_layers: layers whose attention sees only the last `local_window` tokens, itself among them.
        local_window: see `local_layers`; None where there are none.
        local_rope_theta: base of the rotary wavelengths of `local_layers`, unscaled; None for `rope_theta`.
    """

    model_type: str
    d_model: int
    layers: int
    attention_heads: int
    key_value_heads: int
    head_dim: int
    ffn_dim: int
    activation_function: str
    gated_ffn: bool
    norm: str
    norm_epsilon: float
    position: str
    rope_theta: float
    rope_scaling: Mapping[str, Any] | None
    rotary_interleaved: bool
    vocab_size: int
    context_length: int
    embed_scale: float
    tied_output: bool
    query_key_norm: bool
    attention_scale: float | None = None
    post_norms: bool = False
    local_layers: tuple[int, ...] = ()
    local_window: int | None = None
    local_rope_theta: float | None = None

    def __post_init__(self) -> None:
        """Refuses, all at once, values that no graph here has (`UnsupportedError`)."""
        problems = [*_wrong_values(self)]
        problems = problems or [*_contradictions(self)]
        if problems:
            raise UnsupportedError(f"unsupported {self.model_type} configuration: {'; '.join(problems)}")

    @property
    def query_width(self) -> int:
        """Width of all queries of a token."""
        return self.attention_heads * self.head_dim

    @property
    def key_value_width(self) -> int:
        """Width of all keys, or all values, of a token."""
        return self.key_value_heads * self.head_dim

    @property
    def output_weight(self) -> str:
        """Name of the output layer's weight, ``[vocab_size, d_model]``."""
        return "embedding.weight" if self.tied_output else "output.weight"

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as the manifest stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CausalLMConfig:
        """Reads `to_dict`'s form; raises `UnsupportedError` naming every missing and unknown field."""
        names = {field.name for field in fields(cls)}
        wrong = sorted(names.symmetric_difference(values))
        if wrong:
            raise UnsupportedError(f"not a decoder-only architecture of this edgekit: check {', '.join(wrong)}")
        local_layers = values["local_layers"]
        return cls(
            **{**values, "local_layers": tuple(local_layers) if isinstance(local_layers, list) else local_layers}
        )


_CHOICES = {"activation_function": ACTIVATION_FUNCTIONS, "norm": NORMS, "position": POSITIONS}


def _wrong_values(config: CausalLMConfig) -> list[str]:
    problems = [
        f"{name}={getattr(config, name)!r} (expected one of {', '.join(choices)})"
        for name, choices in _CHOICES.items()
        if getattr(config, name) not in choices
    ]
    for field in fields(config):
        value = getattr(config, field.name)
        kind = str(field.type).removesuffix(" | None")
        if value is None and kind != field.type:
            continue
        if kind == "int" and (type(value) is not int or value < 1):
            problems.append(f"{field.name}={value!r} (expected a whole number above 0)")
        least = 0 if field.name == "rope_theta" and config.position == "learned" else 1e-30
        if kind == "float" and (type(value) not in (int, float) or not least <= value < float("inf")):
            problems.append(f"{field.name}={value!r} (expected a number above 0)")
        if kind == "bool" and not isinstance(value, bool):
            problems.append(f"{field.name}={value!r} (expected true or false)")
    scaling: Any = config.rope_scaling
    if not (scaling is None or isinstance(scaling, Mapping)):
        problems.append(f"rope_scaling={scaling!r} (expected an object or null)")
    layers: Any = config.local_layers
    if not isinstance(layers, tuple) or any(type(layer) is not int for layer in layers):
        problems.append(f"local_layers={layers!r} (expected whole numbers)")
    return problems


def _contradictions(config: CausalLMConfig) -> list[str]:
    problems = [
        f"{name}={getattr(config, name)} (expected at most {most})"
        for name, most in (("context_length", MAX_TOKENS), ("vocab_size", MAX_VOCAB_SIZE))
        if getattr(config, name) > most
    ]
    if config.attention_heads % config.key_value_heads:
        problems.append(
            f"key_value_heads={config.key_value_heads} does not divide attention_heads={config.attention_heads}"
        )
    if config.head_dim % (multiple := HEAD_DIM_MULTIPLES[config.position]):
        problems.append(f"head_dim={config.head_dim} (expected a multiple of {multiple})")
    if config.rope_scaling is not None and config.position != "rotary":
        problems.append("rope_scaling without rotary positions")
    if bool(config.local_layers) != (config.local_window is not None):
        problems.append(f"local_layers={list(config.local_layers)} with local_window={config.local_window}")
    if any(not 0 <= layer < config.layers for layer in config.local_layers):
        problems.append(f"local_layers={list(config.local_layers)} (expected layers below {config.layers})")
    return problems
