"""Checkpoints of architectures that edgekit doesn't build itself, through optimum: to ONNX graphs in a directory.

In: a checkpoint's directory as transformers has them. Out: fp32 graphs, which `edgekit.export.onnx_import` makes a
bundle of. optimum-onnx traces the model with torch, in this process; it reads this disk only, runs no code that comes
with a checkpoint, and what it prints is kept back. Needs the extra ``edgekit[optimum]``: without it, and for whatever
optimum can't do, one line.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

from edgekit.errors import MissingExtraError, UnsupportedError

TASKS = ("text-generation-with-past", "text2text-generation-with-past")
# What edgekit's own graphs have is 21; torch's tracing exporter goes to 18 as optimum calls it.
OPSET = 18


def has_optimum() -> bool:
    """Whether optimum-onnx and torch are installed; imports neither."""
    try:
        return all(importlib.util.find_spec(name) is not None for name in ("optimum.exporters.onnx", "torch"))
    except ModuleNotFoundError:
        return False


def optimum_task(model_type: str, *, is_encoder_decoder: bool) -> str | None:
    """The task that optimum exports an architecture for; None if it doesn't.

    Args:
        model_type: config.json's.
        is_encoder_decoder: config.json's.

    Raises:
        MissingExtraError: optimum is not installed.
    """
    if not has_optimum():
        raise MissingExtraError(
            f'exporting a {model_type!r:.80} needs optimum; pip install "edgekit[optimum]" brings it'
        )
    with _quiet():
        from optimum.exporters.tasks import TasksManager

        importlib.import_module("optimum.exporters.onnx.model_configs")  # registers the architectures
    task = TASKS[is_encoder_decoder]
    known = TasksManager.get_supported_model_type_for_task(task, "onnx")
    return task if model_type in known or model_type.replace("_", "-") in known else None


def export_with_optimum(directory: Path, output: Path, task: str) -> None:
    """Writes the graphs of a checkpoint.

    Args:
        directory: the checkpoint's.
        output: a directory to be made or filled.
        task: from `optimum_task`.

    Raises:
        UnsupportedError: optimum, transformers or torch can't.
    """
    with _quiet():
        from optimum.exporters.onnx import main_export

        try:
            main_export(
                str(directory),
                output=output,
                task=task,
                opset=OPSET,
                dtype="fp32",
                framework="pt",
                library_name="transformers",
                local_files_only=True,
                trust_remote_code=False,
                do_validation=False,  # `edgekit.export.check_import` compares what comes of the graphs
                no_post_process=True,  # merging is undone by the import
            )
        except Exception as error:  # whatever optimum, transformers and torch raise
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UnsupportedError(f"{directory}: optimum can't export this model: {reason}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what libraries print, log and warn of."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
