"""(config, weights) -> ONNX graphs with fused operators; nothing is traced and no framework is needed.

Reading order: `config` (what an encoder-decoder is), `tensors` (a weight, float or quantised), `weights_file` (each
weight once on disk), `emitter` (one method per building block), `encoder` and `decoder` (the two graphs), `seq2seq`
(both, written into a bundle's directory), `reference` and `check` (the same network in numpy, compared with the
graphs), `weight_shapes` (whether a bundle's weights fit its architecture).

Decoder-only models: `causal_lm_config`, `causal_lm_weights` (names and shapes), `rotary` (tables of positions),
`causal_lm` (the one graph), `blockwise` (products of weights in blocks), `causal_lm_reference` and `causal_lm_check`.

Departs from a layout with the graphs inside
`edgekit.export`: export and quantize both build graphs, and neither imports the other's stage for it.
"""
