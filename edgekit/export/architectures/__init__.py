"""One file a family of architectures: its configuration and its weight map, as data.

Encoder-decoders: `marian` with `marian_options`, `bergamot`, `t5` (``mt5`` too), `bart` (``mbart``, ``pegasus`` and
``m2m_100`` too), which share `seq2seq_options` (config.json) and `seq2seq_weights` (names to weights). Decoder-only:
`llama`, `qwen`, `gpt2`, `gemma3` and `gguf_names`, which share `decoder_options` and `decoder_weights`.
"""
