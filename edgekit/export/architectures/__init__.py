"""One file an architecture, named after its ``model_type``: its configuration and its weight map, as data.

What decoder-only ones share is in `decoder_options` (config.json) and `decoder_weights` (names to weights).
"""
