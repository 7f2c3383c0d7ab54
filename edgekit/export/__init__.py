"""Checkpoint to bundle.

Reading order: `pipeline`, then a reader (`read_marian`, `read_seq2seq`, `read_bergamot`, `read_causal_lm`, `read_gguf`)
with what it gives (`model`), `architectures`, `sources`, `tokenizer`. `onnx_import` takes graphs that optimum made, and
`optimum` makes them.

Needs neither torch nor transformers but for `optimum`: weights are read from their files and graphs are built, not
traced. `pipeline` is imported at the first use of its names, since listing models needs `sources` and not the graph
builder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.export.onnx_import import import_onnx
    from edgekit.export.pipeline import export, export_checkpoint

__all__ = ["export", "export_checkpoint", "import_onnx"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from edgekit.export import onnx_import, pipeline
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("edgekit"):
            raise
        from edgekit.errors import MissingExtraError

        raise MissingExtraError(f'exporting needs {error.name}; pip install "edgekit[export]" brings it') from None
    return getattr(onnx_import if name == "import_onnx" else pipeline, name)
