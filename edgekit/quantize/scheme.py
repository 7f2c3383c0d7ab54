"""What is quantised how: one plain dataclass, and the schemes that have names.

In: the kind of a model and a name such as ``int8`` or ``int8-static``. Out: a `Scheme`, which says of each weight, by
its name, what it becomes and how the product with it takes its input. Refuses names that a kind of model doesn't have.
Quantises nothing: that is `edgekit.quantize.weights`. The formulas and their sources: docs/quantisation.md.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from edgekit.errors import UnsupportedError
from edgekit.quantize.blockwise import BlockFormat
from edgekit.quantize.calibration import ScaleMethod

Activations = Literal["shipped", "dynamic", "static", "float"]


@dataclass(frozen=True)
class ChannelFormat:
    """int8 with one scale an output channel (`edgekit.quantize.int8`).

    Attributes:
        activations: how products take their input. "dynamic": int8 with a scale for each row, found as it comes;
            "static": int8 with one scale for all, calibrated; "float": as it is, the weights are dequantised when the
            model is loaded (int8 on the disk, the speed of fp32); "shipped": the scale that the checkpoint ships, or
            dynamic where it ships none.
        method: how a static scale is chosen, see `ScaleMethod`; nothing to the others.
        least_error: searched scales of the weights instead of ``max|w| / 127``.
        smoothing: SmoothQuant's alpha: outliers of the input move into the weights; None for none. Needs calibration,
            and something before the product that can take the inverse, see `edgekit.quantize.migration`.
    """

    activations: Activations = "shipped"
    method: ScaleMethod = "mse"
    least_error: bool = False
    smoothing: float | None = None

    @property
    def needs_calibration(self) -> bool:
        """Whether it takes statistics of a product's input."""
        return self.activations == "static" or self.smoothing is not None


Format = BlockFormat | ChannelFormat | None
"""What a matrix becomes; None leaves it in float32."""


@dataclass(frozen=True)
class Scheme:
    """How a model's weights are stored, and how its products take their inputs.

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

    @property
    def formats(self) -> tuple[Format, ...]:
        """All that a matrix may become."""
        return (self.matrices, *(named for _, named in self.exceptions))

    @property
    def precision(self) -> str:
        """The precision of a bundle of this scheme: "int4" if any matrix may have 4 bits, "int8" if any has 8."""
        if any(isinstance(named, BlockFormat) and named.bits == 4 for named in self.formats):
            return "int4"
        return "int8" if any(self.formats) else "fp32"

    @property
    def needs_calibration(self) -> bool:
        """Whether `edgekit.quantize.bundle.quantize_bundle` needs a calibration for it."""
        return any(named is not None and named.needs_calibration for named in self.formats)


# Positions are added, not multiplied, and a thousandth of the weights.
_FLOAT = ("*positions.weight", None)
# Measured on SmolLM2-135M. Blocks of 32 are also what MatMulNBits rounds its inputs by: blocks of 64 decode 10 to 25 %
# faster and diverge 1.7 times as far from the float model; blocks of 16 take an eighth longer and diverge a tenth less.
# Zero points cost no time.
_FOUR_BITS = BlockFormat(4, 32, symmetric=False)
_EIGHT_BITS = BlockFormat(8, 32, symmetric=False)
# The embedding is the output layer too wherever the two are tied: in 4 bits it alone cost 6 % of perplexity.
_TABLES_IN_EIGHT_BITS = (("embedding.weight", _EIGHT_BITS), ("output.weight", _EIGHT_BITS))
# In blocks of 64 a table takes a sixtieth less than in blocks of 32 without zero points, and a step 5 % less time.
_WIDER_BLOCKS = BlockFormat(8, 64, symmetric=False)
_COMPACT, _COMPACT_TABLE = (dataclasses.replace(blocks, compact=True) for blocks in (_FOUR_BITS, _WIDER_BLOCKS))
# Measured on SmolLM2-135M: blocks of 64 are 1.2 times as fast as blocks of 32 and diverge 1.7 times as far, since one
# large input coarsens all 64 of a block; smoothed, no farther. Of alpha 0.5, 0.6, 0.7 and 0.8 this was the best. Blocks
# of 128 are 1.3 times as fast, but onnxruntime 1.32 multiplies one row by another kernel than several there: a text
# would depend on its batch. The inputs of a tied table can't be smoothed: what it looks up would change.
_SMOOTH_BLOCKS = dataclasses.replace(_WIDER_BLOCKS, smoothing=0.7)
_TABLES_IN_WIDER_BLOCKS = (("embedding.weight", _WIDER_BLOCKS), ("output.weight", _WIDER_BLOCKS))
_DYNAMIC, _STATIC, _WEIGHTS = ChannelFormat("dynamic"), ChannelFormat("static"), ChannelFormat("float")
_SMOOTH = dataclasses.replace(_STATIC, smoothing=0.5)

SCHEMES: dict[str, dict[str, Scheme]] = {
    "seq2seq": {
        "fp32": Scheme(None),
        "int8": Scheme(ChannelFormat(), (_FLOAT,)),
        "int8-dynamic": Scheme(_DYNAMIC, (_FLOAT,)),
        "int8-static": Scheme(_STATIC, (_FLOAT,)),
        # Behind the norms of a post-norm network stands the residual too: nothing there can take a product's inverse.
        "int8-smooth": Scheme(
            _STATIC, (_FLOAT, ("*attention.output.weight", _SMOOTH), ("*.feed_forward.down.weight", _SMOOTH))
        ),
        "int8-blocks": Scheme(_EIGHT_BITS, (_FLOAT,)),
        "int8-weights": Scheme(_WEIGHTS, (_FLOAT,)),
    },
    "causal-lm": {
        "fp32": Scheme(None),
        "int8": Scheme(_EIGHT_BITS, (_FLOAT,)),
        "int8-dynamic": Scheme(_DYNAMIC, (_FLOAT,)),
        "int8-static": Scheme(_STATIC, (_FLOAT,)),
        # A tied embedding can't take an input's scales: what it looks up would change.
        "int8-smooth": Scheme(_SMOOTH, (_FLOAT, ("embedding.weight", _STATIC), ("output.weight", _STATIC))),
        "int8-blocks": Scheme(_EIGHT_BITS, (_FLOAT,)),
        "int8-smooth-blocks": Scheme(_SMOOTH_BLOCKS, (_FLOAT, *_TABLES_IN_WIDER_BLOCKS)),
        "int8-weights": Scheme(_WEIGHTS, (_FLOAT,)),
        "int4": Scheme(_FOUR_BITS, (_FLOAT, *_TABLES_IN_EIGHT_BITS)),
        "int4-compact": Scheme(
            _COMPACT, (_FLOAT, ("embedding.weight", _COMPACT_TABLE), ("output.weight", _COMPACT_TABLE))
        ),
        "int4-calibrated": Scheme(dataclasses.replace(_FOUR_BITS, calibrated=True), (_FLOAT, *_TABLES_IN_EIGHT_BITS)),
        "int4-awq": Scheme(dataclasses.replace(_FOUR_BITS, activation_aware=True), (_FLOAT, *_TABLES_IN_EIGHT_BITS)),
    },
}


def named_scheme(kind: str, name: str) -> Scheme:
    """The scheme behind a name or a precision.

    Args:
        kind: the manifest's ``kind``, "seq2seq" or "causal-lm".
        name: a key of ``SCHEMES[kind]``; "fp32", "int8" and "int4" are what those precisions mean.

    Raises:
        UnsupportedError: the kind of model has no such scheme.
    """
    if name not in SCHEMES[kind]:
        raise UnsupportedError(f"a {kind} model has the schemes {', '.join(SCHEMES[kind])}, not {name}")
    return SCHEMES[kind][name]
