"""Which weights a decoder-only model has: what its graph needs, what it may have besides, and the shape of each.

In: `CausalLMConfig` and `Weights`. Out: nothing, or one error with every tensor that is missing, left over or of
another shape. Matrices are ``[in, out]``, tables ``[vocab_size, d_model]``; gate comes before up, and query, key and
value stand side by side, heads in order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from edgekit.errors import EdgekitError
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.weights_file import ACTIVATION_SCALE_SUFFIX, Weights

Shapes = Iterator[tuple[str, tuple[int, ...]]]

_SHOWN = 12
# Weights of a configuration beyond those that a model has.
_LOOKED_AT = 100
ROTARY = "rotary."


def weight_shapes(config: CausalLMConfig) -> Shapes:
    """Name and shape of each weight that the graph of a configuration needs."""
    d = config.d_model
    yield "embedding.weight", (config.vocab_size, d)
    if config.position == "learned":
        yield "positions.weight", (config.context_length, d)
    else:
        tables = ("cos", "sin") if config.local_rope_theta is None else ("cos", "sin", "local_cos", "local_sin")
        yield from ((f"rotary.{name}", (config.context_length, config.head_dim // 2)) for name in tables)
    for layer in range(config.layers):
        yield from _layer_shapes(config, f"layers.{layer}")
    yield from _norm(config, "final_norm", d)
    if not config.tied_output:
        yield "output.weight", (config.vocab_size, d)


def bias_shapes(config: CausalLMConfig) -> Shapes:
    """Name and shape of each bias that a model may have: one for each product."""
    for layer in range(config.layers):
        for name, shape in _layer_shapes(config, f"layers.{layer}"):
            if len(shape) == 2:
                yield name.replace(".weight", ".bias"), shape[1:]
    yield "output.bias", (config.vocab_size,)


def check_weights(config: CausalLMConfig, weights: Weights, where: str, error: type[EdgekitError]) -> None:
    """Raises ``error``, which begins with ``where``, unless the weights are exactly those of the configuration.

    The rotary tables are left out: they follow from the configuration, and are calculated whenever a graph is written.
    """
    # A hostile configuration may have layers without end.
    needed = dict(itertools.islice(weight_shapes(config), len(weights) + _LOOKED_AT))
    shapes = needed | dict(itertools.islice(bias_shapes(config), len(weights) + _LOOKED_AT))
    missing = [name for name in needed if name not in weights and not name.startswith(ROTARY)]
    wrong = [
        f"{name} {list(weights[name].shape)} instead of {list(shape)}"
        for name, shape in shapes.items()
        if name in weights and weights[name].shape != shape and not name.startswith(ROTARY)
    ]
    known = (name for name in weights if name.startswith(ROTARY) or name.endswith(ACTIVATION_SCALE_SUFFIX))
    left_over = sorted(weights.keys() - shapes.keys() - set(known))
    problems = [
        f"{what}: {', '.join(names[:_SHOWN])}" + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        for what, names in (("missing", missing), ("left over", left_over), ("of another shape", wrong))
        if names
    ]
    if problems:
        raise error(f"{where}: weights don't fit the {config.model_type} architecture; {'; '.join(problems)}")


def _layer_shapes(config: CausalLMConfig, layer: str) -> Shapes:
    d, query, key_value = config.d_model, config.query_width, config.key_value_width
    attention, feed_forward = f"{layer}.attention", f"{layer}.feed_forward"
    yield from _norm(config, f"{attention}.norm", d)
    yield f"{attention}.qkv.weight", (d, query + 2 * key_value)
    if config.query_key_norm:
        yield f"{attention}.query_norm.weight", (config.head_dim,)
        yield f"{attention}.key_norm.weight", (config.head_dim,)
    yield f"{attention}.output.weight", (query, d)
    yield from _norm(config, f"{feed_forward}.norm", d)
    if config.gated_ffn:
        yield f"{feed_forward}.gate_up.weight", (d, 2 * config.ffn_dim)
    else:
        yield f"{feed_forward}.up.weight", (d, config.ffn_dim)
    yield f"{feed_forward}.down.weight", (config.ffn_dim, d)
    if config.post_norms:
        yield from _norm(config, f"{attention}.post_norm", d)
        yield from _norm(config, f"{feed_forward}.post_norm", d)


def _norm(config: CausalLMConfig, name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    if config.norm == "layer":
        yield f"{name}.bias", (width,)
