"""Activation scales from hand-worked statistics, and a calibration saved and loaded."""

import re

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.quantize.calibration import Calibration, ProductInputs


def inputs(sample, rows=None):
    """The statistics of a few rows that are all kept."""
    sample = np.asarray(sample, np.float32)
    magnitudes = np.abs(sample)
    return ProductInputs(
        rows or len(sample),
        magnitudes.max(axis=0),
        magnitudes.mean(axis=0),
        np.square(sample).mean(axis=0),
        sample,
    )


def test_max_cuts_nothing_off():
    assert inputs([[1.0, -2.54], [0.5, 0.0]]).scale("max") == np.float32(2.54 / 127)


def test_percentile_cuts_off_the_largest_ten_thousandth():
    """Of 0, 1, ... 10000 it leaves all but the last: numpy's percentile of 99.99 is 9999."""
    assert inputs(np.arange(10001).reshape(-1, 1)).scale("percentile") == pytest.approx(9999 / 127)


def test_percentile_is_never_above_the_largest():
    assert inputs([[3.0], [3.0]]).scale("percentile") == np.float32(3 / 127)


def test_least_error_cuts_one_outlier_off():
    """Of 100,000 values all but one are 0.5 to 1: with a limit of 1 these have finer steps, and 1.2 is off by 0.2."""
    values = np.append(np.linspace(0.5, 1.0, 99_999), 1.2)[:, None]
    limit = inputs(values).scale("mse") * 127
    assert 0.99 < limit < 1.02

    def error(limit):
        step = np.float32(limit / 127)
        return np.square(np.minimum(np.rint(values / step), 127) * step - values).sum()

    assert error(limit) < error(1.2)
    assert error(limit) <= min(error(1.2 * share) for share in np.linspace(0.02, 1, 99)) * (1 + 1e-6)


def test_least_error_keeps_the_whole_range_where_int8_holds_all_values():
    assert inputs([[127.0, -64.0, 3.0]]).scale("mse") == 1


@pytest.mark.parametrize("method", ["max", "percentile", "mse"])
def test_inputs_of_zeros_have_scale_one(method):
    assert inputs(np.zeros((4, 3))).scale(method) == 1


def test_another_method_is_refused():
    with pytest.raises(InputError, match=r"unknown method 'entropy' .*: expected max or percentile or mse"):
        inputs([[1.0]]).scale("entropy")


def test_divided_inputs_are_those_of_divided_rows():
    rows, factors = np.array([[1.0, -8.0], [3.0, 4.0]]), np.array([2.0, 0.5], np.float32)
    divided, expected = inputs(rows).divided(factors), inputs(rows / factors)
    for field in ("largest", "mean_absolute", "mean_square", "sample"):
        np.testing.assert_allclose(getattr(divided, field), getattr(expected, field), rtol=1e-6)


@pytest.fixture
def calibration():
    found = {"a.weight": inputs([[1.0, 2.0]]), "output.weight": inputs([[3.0]], 90)}
    return Calibration("ab" * 32, 3, 40, 7, found, "mine")


def test_a_saved_calibration_is_loaded_again(calibration, tmp_path):
    calibration.save(tmp_path / "c.npz")
    loaded = Calibration.load(tmp_path / "c.npz")
    assert (loaded.weights_sha256, loaded.texts, loaded.tokens, loaded.seed) == ("ab" * 32, 3, 40, 7)
    assert loaded.as_measured() == {"text": "mine", "texts": 3, "tokens": 40, "seed": 7}
    assert list(loaded.inputs) == ["a.weight", "output.weight"]
    assert loaded.inputs["output.weight"].rows == 90
    np.testing.assert_array_equal(loaded.inputs["a.weight"].sample, [[1.0, 2.0]])


@pytest.mark.parametrize("content", [None, b"", b"text", "another npz"])
def test_a_file_that_is_no_calibration_is_refused(content, tmp_path):
    path = tmp_path / "c.npz"
    if content == "another npz":
        np.savez(path, calibration=np.array("[]"))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))}: expected a saved calibration, found another file"):
        Calibration.load(path)
