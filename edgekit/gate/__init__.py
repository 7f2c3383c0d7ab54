"""Quantisation that answers for its quality: a budget, what a bundle loses against it, and which tensors cost most.

`check` accepts or refuses a quantised bundle, `sensitivity` finds what each tensor costs alone, `search` the fastest
mix inside a budget, `tensor_errors` the table of `edgekit inspect --error`. This package composes what makes bundles
(`edgekit.quantize`, `edgekit.graph`) with what measures them (`edgekit.quality`, `edgekit.bench`); these know nothing
of each other. Everything here is chosen on development text; test sets are for reporting.
"""
