"""One file an architecture, named after its ``model_type``: its configuration and its weight map, as data."""
