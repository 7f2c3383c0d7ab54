"""Checkpoint to bundle. Reading order: `pipeline`, `read_marian`, `read_bergamot`, `architectures`, `sources`.

Needs neither torch nor transformers: weights are read from their files and graphs are built, not traced.
"""

from edgekit.export.pipeline import export, export_checkpoint

__all__ = ["export", "export_checkpoint"]
