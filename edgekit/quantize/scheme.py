"""What is quantised how: one plain dataclass, and the schemes behind ``int8`` and ``int4``.

In: the kind of a model and a precision. Out: a `Scheme`, which says of each weight, by its name, what it becomes.
Refuses precisions that a kind of model doesn't have. Quantises nothing: that is `edgekit.quantize.weights`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgekit.errors import UnsupportedError
from edgekit.quantize.blockwise import BlockFormat


@dataclass(frozen=True)
class ChannelFormat:
    """int8 with one scale an output channel (`edgekit.quantize.int8`); products quantise their inputs row by row."""


Format = BlockFormat | ChannelFormat | None
"""What a matrix becomes; None leaves it in float32."""


@dataclass(frozen=True)
class Scheme:
    """How a model's weights are stored.

    Attributes:
        matrices: what a matrix becomes that no exception names.
        exceptions: patterns of names (`fnmatch`: ``*`` stands for anything) and what those matrices become; the first
            that fits counts.
    """

    matrices: Format
    exceptions: tuple[tuple[str, Format], ...] = ()

    def format_of(self, name: str) -> Format:
        """What the matrix ``name`` becomes."""
        for pattern, named in self.exceptions:
            if fnmatchcase(name, pattern):
                return named
        return self.matrices

    def with_exception(self, pattern: str, named: Format) -> Scheme:
        """This scheme with one more exception, which goes before the others."""
        return dataclasses.replace(self, exceptions=((pattern, named), *self.exceptions))


# Positions are added, not multiplied, and a thousandth of the weights.
_FLOAT = ("*positions.weight", None)
# Measured on SmolLM2-135M. Blocks of 32 are also what MatMulNBits rounds its inputs by: blocks of 64 decode 10 to 25 %
# faster and diverge 1.7 times as far from the float model; blocks of 16 take an eighth longer and diverge a tenth less.
# Zero points cost no time.
_FOUR_BITS = BlockFormat(4, 32, symmetric=False)
_EIGHT_BITS = BlockFormat(8, 32, symmetric=False)

SCHEMES: dict[tuple[str, str], Scheme] = {
    ("seq2seq", "int8"): Scheme(ChannelFormat(), (_FLOAT,)),
    ("causal-lm", "int8"): Scheme(_EIGHT_BITS, (_FLOAT,)),
    # The embedding is the output layer too wherever the two are tied: in 4 bits it alone cost 6 % of perplexity.
    ("causal-lm", "int4"): Scheme(
        _FOUR_BITS, (_FLOAT, ("embedding.weight", _EIGHT_BITS), ("output.weight", _EIGHT_BITS))
    ),
}


def scheme_for(kind: str, precision: str) -> Scheme:
    """The scheme behind a precision.

    Args:
        kind: the manifest's ``kind``, "seq2seq" or "causal-lm".
        precision: "fp32", "int8" or "int4".

    Raises:
        UnsupportedError: the kind of model has no such precision.
    """
    if precision == "fp32":
        return Scheme(None)
    if (kind, precision) not in SCHEMES:
        known = ", ".join(["fp32", *(name for of_kind, name in SCHEMES if of_kind == kind)])
        raise UnsupportedError(f"a {kind} model has the precisions {known}, not {precision}")
    return SCHEMES[kind, precision]
