"""Scaled rotary positions in the graphs of decoder-only models against transformers, from the same random weights.

Every architecture's own configurations are compared from its checkpoints: test_read_causal_lm.py.
"""

import dataclasses

import numpy as np
import pytest

from tests.graph.causal_lm_checkpoints import CONTEXT, VOCAB, make_llama
from tests.graph.causal_lm_session import CausalLMSession

IDS = np.random.default_rng(1).integers(0, VOCAB, CONTEXT)
SCALINGS = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "yarn of DeepSeek's form": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "mscale": 1.0,
        "mscale_all_dim": 0.7,
        "beta_fast": 16,
        "beta_slow": 2,
    },
    "yarn with an attention factor": {"rope_type": "yarn", "factor": 2.0, "attention_factor": 0.8, "truncate": False},
}


@pytest.mark.parametrize("kind", SCALINGS)
def test_scaled_rotary_positions_equal_those_of_transformers(kind, tmp_path):
    case = make_llama(rope_scaling=SCALINGS[kind])
    expected = case.logits(IDS)
    found = CausalLMSession(tmp_path, case.config, case.weights, capacity=CONTEXT).run([IDS], every=True)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.std(), rtol=1e-5)
    unscaled = dataclasses.replace(case.config, rope_scaling=None)
    plain = CausalLMSession(tmp_path, unscaled, case.weights, capacity=CONTEXT).run([IDS], every=True)
    assert (np.abs(plain - expected).max() > 0.01) == (kind != "dynamic")
