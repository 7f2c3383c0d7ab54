"""The models that edgekit knows: recipes (one TOML file a model or family) and the embedded default's weights.

Packaged as ``edgekit.models``. Holds data only; the exporter reads it through `importlib.resources`.
"""
