"""Which weights a configuration needs, and their shapes: what a bundle from elsewhere is compared with.

In: `Seq2SeqConfig` and `Weights`. Out: nothing, or one error that names the first weights that don't fit. The exporters
need none of it: their weight maps check the same against the checkpoint, in the checkpoint's own names.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from edgekit.errors import BundleError
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.weights_file import Weights

_SHOWN = 4


def weight_shapes(config: Seq2SeqConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each weight that the graphs of a configuration use, activation scales left out."""
    d = config.d_model
    yield "positions.weight", (config.max_position_embeddings, d)
    yield "source_embedding.weight", (config.source_vocab_size, d)
    yield config.target_embedding, (config.target_vocab_size, d)
    yield config.output_weight, (config.target_vocab_size, d)
    yield "output.bias", (config.target_vocab_size,)
    for layer in range(config.encoder_layers):
        block = f"encoder.layers.{layer}"
        yield from _linear(f"{block}.self_attention.qkv", d, 3 * d)
        yield from _end(f"{block}.self_attention", d)
        yield from _feed_forward(block, d, config.encoder_ffn_dim)
    for layer in range(config.decoder_layers):
        block = f"decoder.layers.{layer}"
        if config.decoder_cell == "ssru":
            yield from _linear(f"{block}.ssru.candidate_gate", d, 2 * d)
            yield from _norm(f"{block}.ssru", d)
        else:
            yield from _linear(f"{block}.self_attention.qkv", d, 3 * d)
            yield from _end(f"{block}.self_attention", d)
        yield from _linear(f"{block}.cross_attention.query", d, d)
        yield from _linear(f"{block}.cross_attention.key_value", d, 2 * d)
        yield from _end(f"{block}.cross_attention", d)
        yield from _feed_forward(block, d, config.decoder_ffn_dim)


def check_shapes(config: Seq2SeqConfig, weights: Weights, where: str) -> None:
    """Raises `BundleError`, which begins with ``where``, if weights are missing or of another shape."""
    problems = (
        f"{name} is {list(weights[name].shape)}, expected {list(shape)}" if name in weights else f"{name} is missing"
        for name, shape in weight_shapes(config)
        if name not in weights or weights[name].shape != shape
    )
    # Only the first few are looked for: a hostile configuration may have layers without end.
    wrong = list(itertools.islice(problems, _SHOWN))
    if wrong:
        raise BundleError(f"{where}: weights don't fit the architecture: {'; '.join(wrong)}; export the model again")


def _linear(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (inputs, outputs)
    yield f"{name}.bias", (outputs,)


def _norm(block: str, d: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{block}.norm.weight", (d,)
    yield f"{block}.norm.bias", (d,)


def _end(block: str, d: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _linear(f"{block}.output", d, d)
    yield from _norm(block, d)


def _feed_forward(block: str, d: int, ffn: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _linear(f"{block}.feed_forward.up", d, ffn)
    yield from _linear(f"{block}.feed_forward.down", ffn, d)
    yield from _norm(f"{block}.feed_forward", d)
