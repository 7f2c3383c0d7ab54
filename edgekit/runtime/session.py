"""onnxruntime sessions with the options that measured best for small models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort

from edgekit.bundle.onnx_relocate import read_packed_graph
from edgekit.bundle.single_file import PackedFile
from edgekit.errors import BundleError
from edgekit.runtime.arguments import whole_number
from edgekit.runtime.cancellation import check_cancellation
from edgekit.runtime.huge_pages import in_huge_pages
from edgekit.runtime.memory import give_back_freed
from edgekit.runtime.saturation import products_saturate

# One thread: with a few hundred numbers a row, a second thread costs more at its barriers than it calculates; single
# sentences took 1.4 to 1.6 times as long with two, and batches 0.9 to 1.2 times (benchmarks/threads).
DEFAULT_THREADS = 1

# Folds DequantizeLinear of a constant at load: an int8 weight used in float is dequantised once, not each run.
FOLD_DEQUANTIZATION = "session.disable_quant_qdq"
# Makes constant int8 weights unsigned, whose kernels don't saturate on x86 without VNNI (avx2_weight_s8_to_u8.cc).
UNSIGNED_WEIGHTS = "session.x64quantprecision"
# Where a graph that is given as bytes finds its external data.
EXTERNAL_DATA_FOLDER = "session.model_external_initializers_file_folder_path"
# What onnxruntime says where an allocation failed: of an object, of a run's buffers, of a thread's stack.
OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory", "pthread_create failed")


def run_graph(run: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a session's method that runs its graph.

    Raises:
        BundleError: onnxruntime can't run it.
        CancelledError: this thread's work was cancelled (`edgekit.runtime.cancellation`).
        DeadlineError: the time for it is over.
    """
    check_cancellation()
    try:
        return run(*arguments)
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise explain("onnxruntime can't run this bundle's graph", error) from None


def explain(what: str, error: Exception) -> BundleError:
    """An exception of onnxruntime's as a caller gets it: what failed, why, and what to do next."""
    reason = " ".join(str(error).split())
    no_memory = any(sign in reason for sign in OUT_OF_MEMORY)
    advice = "free some memory or raise the process's limit" if no_memory else "export the model again"
    return BundleError(f"{what} ({reason[:300]}); {advice}")


def session_options(threads: int | None = None, *, low_memory: bool = False) -> ort.SessionOptions:
    """The options of every session; arguments as in `create_session`."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = DEFAULT_THREADS if threads is None else whole_number("threads", threads)
    options.inter_op_num_threads = 1
    # Fatal alone: an error is raised, and its exception says what the log would.
    options.log_severity_level = 4
    # Both keep what a run needed for the next one.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = not low_memory
    options.add_session_config_entry(FOLD_DEQUANTIZATION, "1")
    if products_saturate():
        options.add_session_config_entry(UNSIGNED_WEIGHTS, "1")
    return options


def create_session(
    path: Path | PackedFile, threads: int | None = None, *, low_memory: bool = False
) -> ort.InferenceSession:
    """Loads a graph for this CPU.

    Args:
        path: an ``.onnx`` file; its external data lies beside it, or in the same packed bundle.
        threads: threads that one product may use; None for `DEFAULT_THREADS`.
        low_memory: a run's memory is given back at its end.

    Raises:
        InputError: ``threads`` is not a whole number from 1.
        BundleError: onnxruntime can't load the file, its path is not UTF-8, or its weights lie elsewhere than in its
            bundle.
    """
    options = session_options(threads, low_memory=low_memory)
    _check_utf_8(path)
    graph: str | bytes = str(path)
    if isinstance(path, PackedFile):
        options.add_session_config_entry(EXTERNAL_DATA_FOLDER, str(path.pack.parent))
        graph = read_packed_graph(path)
    try:
        with in_huge_pages():
            session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            give_back_freed()
            return session
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise explain(f"{path}: onnxruntime can't load this graph", error) from None


def _check_utf_8(path: Path | PackedFile) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise BundleError(
            f"{str(path)!a}: onnxruntime needs a path in UTF-8, found other bytes; move the bundle to another directory"
        ) from None
