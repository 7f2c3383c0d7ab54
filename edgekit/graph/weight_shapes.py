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
    """Name and shape of each weight that the graphs of a configuration use, biases and activation scales left out."""
    yield from _positions(config)
    yield "source_embedding.weight", (config.source_vocab_size, config.d_model)
    yield config.target_embedding, (config.target_vocab_size, config.d_model)
    yield config.output_weight, (config.target_vocab_size, config.d_model)
    for side in ("encoder", "decoder"):
        for name, there in (("embedding_norm", config.embedding_norm), ("final_norm", config.final_norm)):
            if there:
                yield from _norm(config, f"{side}.{name}")
    for layer in range(config.encoder_layers):
        block = f"encoder.layers.{layer}"
        yield from _self_attention(config, block, config.encoder_width)
        yield from _feed_forward(config, block, config.encoder_ffn_dim)
    for layer in range(config.decoder_layers):
        block = f"decoder.layers.{layer}"
        if config.decoder_cell == "ssru":
            yield f"{block}.ssru.candidate_gate.weight", (config.d_model, 2 * config.d_model)
            yield from _norm(config, f"{block}.ssru.norm")
        else:
            yield from _self_attention(config, block, config.decoder_width)
        yield f"{block}.cross_attention.query.weight", (config.d_model, config.decoder_width)
        yield f"{block}.cross_attention.key_value.weight", (config.d_model, 2 * config.decoder_width)
        yield from _end(config, f"{block}.cross_attention", config.decoder_width)
        yield from _feed_forward(config, block, config.decoder_ffn_dim)


def check_shapes(config: Seq2SeqConfig, weights: Weights, where: str) -> None:
    """Raises `BundleError`, which begins with ``where``, if weights are missing or of another shape.

    A linear layer may have a bias or none; one that is there has to fit its weight.
    """
    # Only the first few are looked for: a hostile configuration may have layers without end.
    wrong = list(itertools.islice(_problems(config, weights), _SHOWN))
    if wrong:
        raise BundleError(f"{where}: weights don't fit the architecture: {'; '.join(wrong)}; export the model again")


def _problems(config: Seq2SeqConfig, weights: Weights) -> Iterator[str]:
    for name, shape in weight_shapes(config):
        if name not in weights:
            yield f"{name} is missing"
            continue
        if weights[name].shape != shape:
            yield f"{name} is {list(weights[name].shape)}, expected {list(shape)}"
        bias = "output.bias" if name == config.output_weight else name.removesuffix("weight") + "bias"
        outputs = shape[:1] if name == config.output_weight else shape[1:]
        if len(shape) == 2 and bias in weights and weights[bias].shape != outputs:
            yield f"{bias} is {list(weights[bias].shape)}, expected {list(outputs)}"


def _positions(config: Seq2SeqConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    length = config.max_position_embeddings
    tables = {
        "encoder": (config.encoder_attention_heads, 2 * length - 1),
        "decoder": (config.decoder_attention_heads, length),
    }
    for side, relative in tables.items():
        yield config.positions_weight(side), relative if config.positions == "relative" else (length, config.d_model)


def _norm(config: Seq2SeqConfig, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (config.d_model,)
    if config.norm == "layer":
        yield f"{name}.bias", (config.d_model,)


def _self_attention(config: Seq2SeqConfig, layer: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{layer}.self_attention.qkv.weight", (config.d_model, 3 * width)
    yield from _end(config, f"{layer}.self_attention", width)


def _end(config: Seq2SeqConfig, block: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{block}.output.weight", (width, config.d_model)
    yield from _norm(config, f"{block}.norm")


def _feed_forward(config: Seq2SeqConfig, layer: str, ffn: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    name, inner = ("gate_up", 2 * ffn) if config.gated_ffn else ("up", ffn)
    yield f"{layer}.feed_forward.{name}.weight", (config.d_model, inner)
    yield f"{layer}.feed_forward.down.weight", (ffn, config.d_model)
    yield from _norm(config, f"{layer}.feed_forward.norm")
