"""Rotary tables: hand-worked ones, and scalings that make no sense."""

import dataclasses

import numpy as np
import pytest

from edgekit.errors import UnsupportedError
from edgekit.graph.rotary import rotary_tables
from tests.graph.causal_lm_checkpoints import make_gpt2, make_llama


@pytest.fixture(scope="module")
def config():
    return make_llama().config


def scaled(config, theta=500.0, **scaling):
    return rotary_tables(dataclasses.replace(config, rope_theta=theta, rope_scaling=scaling or None))


def test_angles_are_positions_times_powers_of_the_base(config):
    tables = scaled(dataclasses.replace(config, head_dim=16), theta=10_000.0)
    angles = np.arange(config.context_length)[:, None] * 10_000.0 ** (-np.arange(8) / 8)
    np.testing.assert_allclose(tables["rotary.cos"], np.cos(angles), atol=1e-5)
    np.testing.assert_allclose(tables["rotary.sin"], np.sin(angles), atol=1e-5)


def test_learned_positions_have_no_tables():
    assert rotary_tables(make_gpt2().config) == {}


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"rope_type": "longrope"}, r"rope_scaling of type 'longrope' \(expected one of default"),
        ({"rope_type": "linear"}, "rope_scaling of type linear needs factor above 0"),
        ({"rope_type": "linear", "factor": -2.0}, "rope_scaling of type linear needs factor above 0"),
        (
            {"rope_type": "yarn", "factor": 4.0, "beta_fast": -1},
            r"rope_theta=500\.0 with rope_scaling=.* no wavelengths",
        ),
        ({"rope_type": "yarn", "factor": 4.0, "beta_slow": "x"}, "gives no wavelengths"),
        ({"rope_type": "yarn", "factor": 4.0, "attention_factor": 1e300}, "gives no wavelengths"),
    ],
)
def test_a_scaling_that_makes_no_sense_is_refused(config, scaling, message):
    with pytest.raises(UnsupportedError, match=message):
        scaled(config, **scaling)


def test_yarn_of_a_base_of_one_is_refused(config):
    with pytest.raises(UnsupportedError, match=r"rope_theta=1\.0 with rope_scaling=.* gives no wavelengths"):
        scaled(config, theta=1.0, rope_type="yarn", factor=4.0)
