"""The weights of a tiny model in each form that a bundle may hold them in."""

import dataclasses

import numpy as np

from edgekit.graph.weights_file import channel_axis
from edgekit.quantize.blockwise import BlockFormat, quantize_blockwise
from edgekit.quantize.int8 import quantize_per_channel

IN_BLOCKS = {
    "4 bits": {"bits": 4, "block_size": 32},
    "4 bits with zero points": {"bits": 4, "block_size": 16, "symmetric": False},
    "4 bits with offsets": {"bits": 4, "block_size": 32, "offsets": True},
    "4 bits with folded offsets": {"bits": 4, "block_size": 16, "symmetric": False, "offsets": "folded"},
    "8 bits": {"bits": 8, "block_size": 32},
    "8 bits with zero points and offsets": {"bits": 8, "block_size": 64, "symmetric": False, "offsets": True},
}
FORMS = ("fp32", "int8", *IN_BLOCKS)


def in_form(weights, form):
    """The weights, each matrix of a product or a lookup in the form of that name."""
    return {
        name: _quantize(name, array, form) if array.ndim == 2 and name != "positions.weight" else array
        for name, array in weights.items()
    }


def precision_of(form):
    """The precision that a bundle of such weights has."""
    return form if form in ("fp32", "int8") else f"int{form[0]}"


def _quantize(name, array, form):
    if form == "fp32":
        return array
    if form == "int8":
        return quantize_per_channel(array, channel_axis(name))
    options = dict(IN_BLOCKS[form])
    offsets = options.pop("offsets", False)
    kind = BlockFormat(**options, least_error=False)
    tensor = quantize_blockwise(array, kind, axis=1 - channel_axis(name))
    if not offsets or (offsets == "folded" and tensor.axis == 1):
        return tensor
    random = np.random.default_rng(len(name))
    found = 0.05 * random.standard_normal(tensor.scales.shape, np.float32)
    return dataclasses.replace(
        tensor, offsets=quantize_blockwise(found, kind, axis=1) if offsets == "folded" else found
    )
