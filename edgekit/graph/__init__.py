"""(config, weights) -> ONNX graphs with fused operators; nothing is traced and no framework is needed.

Reading order: `config` (what an encoder-decoder is), `tensors` (a weight, float or quantised), `weights_file` (each
weight once on disk), `emitter` (one method per building block), `blocks` (what layers share), `encoder`, `decoder` and
`beam_decoder` (the three graphs), `choice` (the best of a vocabulary), `seq2seq` (all written into a bundle's
directory), `reference`, `check` and `check_beams` (the same network in numpy, compared with the graphs),
`weight_shapes` (whether a bundle's weights fit its architecture).

Decoder-only models: `causal_lm_config`, `causal_lm_weights` (names and shapes), `rotary` (tables of positions),
`causal_lm` (the one graph), `blockwise` (products of weights in blocks), `causal_lm_reference` and `causal_lm_check`.

Graphs that optimum made: `foreign` (what has to be known of one), `transplant` (its nodes in a graph of edgekit's),
`foreign_seq2seq` and `foreign_causal_lm`.

The builders are no part of `edgekit.export`, since `edgekit.quantize` builds graphs too and neither imports the other.
"""
