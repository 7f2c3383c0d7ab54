"""The one question that a session asks of its CPU."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.runtime import saturation, session

VPMADDUBSW_LARGEST = 32767


def test_probe_is_one_integer_product():
    model = onnx.load_from_string(saturation.PRODUCT)
    onnx.checker.check_model(model)
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    shapes = [("a", TensorProto.UINT8, "mk"), ("b", TensorProto.INT8, "kn"), ("y", TensorProto.INT32, "mn")]
    a, b, y = (helper.make_tensor_value_info(name, dtype, list(shape)) for name, dtype, shape in shapes)
    assert model.graph == helper.make_graph([node], "g", [a, b], [y])


class SaturatingSession:
    """What a CPU without VNNI answers: neighbouring products added in saturating 16 bits."""

    def run(self, names, feeds):
        products = feeds["a"].astype(np.int32)[:, :, None] * feeds["b"].astype(np.int32)[None]
        pairs = products[:, 0::2] + products[:, 1::2]
        return [np.clip(pairs, -VPMADDUBSW_LARGEST - 1, VPMADDUBSW_LARGEST).sum(axis=1)]


class ExactSession:
    def run(self, names, feeds):
        return [feeds["a"].astype(np.int32) @ feeds["b"].astype(np.int32)]


@pytest.mark.parametrize(("answers", "expected"), [(SaturatingSession, True), (ExactSession, False)])
def test_saturation_is_seen_in_the_product(monkeypatch, answers, expected):
    monkeypatch.setattr(saturation.ort, "InferenceSession", lambda *arguments, **options: answers())
    assert saturation.products_saturate.__wrapped__() is expected


@pytest.mark.parametrize("saturates", [True, False])
def test_weights_become_unsigned_only_where_products_saturate(monkeypatch, tmp_path, saturates):
    (tmp_path / "product.onnx").write_bytes(saturation.PRODUCT)
    monkeypatch.setattr(session, "products_saturate", lambda: saturates)
    options = session.create_session(tmp_path / "product.onnx").get_session_options()
    if saturates:
        assert options.get_session_config_entry(session.UNSIGNED_WEIGHTS) == "1"
    else:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry(session.UNSIGNED_WEIGHTS)
