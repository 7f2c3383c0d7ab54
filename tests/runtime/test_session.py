"""Loading graphs: threads, the options that int8 relies on, damaged files."""

import numpy as np
import pytest

from edgekit.errors import BundleError, InputError
from edgekit.runtime import session
from edgekit.runtime.session import DEFAULT_THREADS, create_session


def test_one_thread_is_the_default(embedded_int8):
    options = create_session(embedded_int8 / "decoder.onnx").get_session_options()
    assert options.intra_op_num_threads == DEFAULT_THREADS == 1
    assert options.inter_op_num_threads == 1


@pytest.mark.parametrize("threads", [1, 2, np.int64(2)])
def test_the_caller_chooses_threads(embedded_int8, threads):
    options = create_session(embedded_int8 / "decoder.onnx", threads).get_session_options()
    assert options.intra_op_num_threads == threads


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, [2]])
def test_threads_that_are_none_are_refused(embedded_int8, threads):
    message = f"threads must be a whole number from 1, found {threads!r}".replace("[", r"\[")
    with pytest.raises(InputError, match=message):
        create_session(embedded_int8 / "decoder.onnx", threads)


def test_weights_of_a_float_graph_are_dequantised_at_load(embedded_int8):
    options = create_session(embedded_int8 / "decoder.onnx").get_session_options()
    assert options.get_session_config_entry(session.FOLD_DEQUANTIZATION) == "1"


def test_only_the_cpu_is_used(embedded_int8):
    assert create_session(embedded_int8 / "encoder.onnx").get_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"not a graph at all"])
def test_a_file_that_is_no_graph_is_refused_in_one_line(data, tmp_path):
    (tmp_path / "encoder.onnx").write_bytes(data)
    message = r"encoder\.onnx: onnxruntime can't load this graph \(.*\); export the model again"
    with pytest.raises(BundleError, match=message) as caught:
        create_session(tmp_path / "encoder.onnx")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_path_that_is_not_utf_8_is_refused_with_its_reason(tmp_path):
    message = (
        r"^'.*udcfcber.*': onnxruntime needs a path in UTF-8, found other bytes; move the bundle to another directory$"
    )
    with pytest.raises(BundleError, match=message):
        create_session(tmp_path / "\udcfcber" / "decoder.onnx")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"decoder\.onnx: onnxruntime can't load this graph"):
        create_session(tmp_path / "decoder.onnx")


@pytest.mark.parametrize(
    "reason",
    [
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc",
        f"FAIL : {'in a kernel, ' * 30}BFCArena: Failed to allocate memory for requested buffer of size 516096",
        "env.cc:327 PosixThread pthread_create failed, error code: 12 error msg: Cannot allocate memory",
    ],
)
def test_a_lack_of_memory_is_not_the_bundles_fault(reason):
    def run():
        raise RuntimeError(reason)

    with pytest.raises(BundleError, match=r"can't run this .* \(.*\); free some memory or raise the process's limit$"):
        session.run_graph(run)


def test_an_error_of_onnxruntime_is_raised_and_not_logged_too(embedded_int8, capfd):
    beyond, mask = np.full((1, 2), 10**6, np.int64), np.ones((1, 2), np.int32)
    encoder = create_session(embedded_int8 / "encoder.onnx")
    with pytest.raises(BundleError, match=r"can't run this bundle's graph \(.* Gather node"):
        session.run_graph(encoder.run, None, {"input_ids": beyond, "attention_mask": mask})
    assert capfd.readouterr() == ("", "")


def test_a_graph_without_its_weights_is_refused(embedded_int8, tmp_path):
    (tmp_path / "encoder.onnx").write_bytes((embedded_int8 / "encoder.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"encoder\.onnx: onnxruntime can't load this graph"):
        create_session(tmp_path / "encoder.onnx")
