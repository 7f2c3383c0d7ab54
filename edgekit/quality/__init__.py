"""What a translation is worth: test sets packaged with edgekit, sacreBLEU's scores, paired bootstrap.

In: source, reference and hypothesis texts. Out: scores with signatures and the interval of a loss. This package runs no
model and measures no time; `edgekit.bench` does.
"""
