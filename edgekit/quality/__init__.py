"""What a model's output is worth: texts and test sets packaged with edgekit, scores, and the intervals of losses.

Translations: source, reference and hypothesis texts in, sacreBLEU's scores and the paired bootstrap's interval out.
Language models: logits in, perplexity and divergence from the unquantised model out. This package runs no model and
measures no time; `edgekit.bench` does.
"""
