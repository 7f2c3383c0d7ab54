"""Checkpoints that transformers 5 wrote are read natively: its logits come out. How they were made: their README.

Tokenizers have fixtures of their own, see test_transformers5_tokenizers.py.
"""

from pathlib import Path

import numpy as np
import pytest

from edgekit.export import read_causal_lm
from edgekit.export.architectures import marian
from edgekit.export.architectures.decoder_weights import map_decoder_weights
from edgekit.export.architectures.marian_options import merge_options
from edgekit.export.architectures.seq2seq_weights import map_weights
from edgekit.export.read_seq2seq import ARCHITECTURES
from edgekit.export.sources.config_file import read_json
from edgekit.export.sources.repository_files import CAUSAL_LM_TYPES, SEQ2SEQ_TYPES
from edgekit.export.sources.tensor_files import read_tensors
from edgekit.graph.causal_lm_reference import CausalLMReference
from edgekit.graph.reference import Reference

FIXTURES = Path(__file__).parent / "transformers5"
NAMES = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir())


def read(directory):
    options = merge_options(
        read_json(directory / "config.json", "config"), read_json(directory / "generation_config.json", "generation")
    )
    tensors = read_tensors({"weights": directory / "model.safetensors"})
    if options["model_type"] == "marian":
        config = marian.read_config(options)
        return config, marian.map_weights(config, tensors, options)
    architecture = ARCHITECTURES[options["model_type"]]
    config = architecture.read_config(options, tensors)
    return config, map_weights(config, architecture.read_names(options), tensors)


@pytest.mark.parametrize("name", CAUSAL_LM_TYPES)
def test_logits_of_a_decoder_only_model_are_those_that_transformers_5_calculated(name):
    options = read_json(FIXTURES / name / "config.json", "config")
    architecture = read_causal_lm.ARCHITECTURES[name]
    config = architecture.read_config(options)
    tensors = read_tensors({"weights": FIXTURES / name / "model.safetensors"})
    weights = map_decoder_weights(config, architecture.read_names(options), tensors, architecture.read_biases(options))
    recorded = np.load(FIXTURES / name / "logits.npz")
    assert recorded["logits"].std() > 0.5
    found = CausalLMReference(config, weights, "fp32").logits(recorded["ids"])
    np.testing.assert_allclose(found, recorded["logits"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CAUSAL_LM_TYPES])
def test_logits_are_those_that_transformers_5_calculated(name):
    config, weights = read(FIXTURES / name)
    recorded = np.load(FIXTURES / name / "logits.npz")
    found = Reference(config, weights, "fp32").logits(recorded["source"], recorded["target"])
    assert recorded["logits"].std() > 0.5
    np.testing.assert_allclose(found, recorded["logits"], rtol=0, atol=1e-3)


def test_every_fixture_says_that_version_5_wrote_it():
    assert {"marian", *SEQ2SEQ_TYPES, *CAUSAL_LM_TYPES} <= set(NAMES)
    for name in NAMES:
        assert read_json(FIXTURES / name / "config.json", "config")["transformers_version"].startswith("5.")


def test_a_head_of_its_own_is_known_by_its_tensor_since_the_options_no_longer_say():
    config, weights = read(FIXTURES / "t5-untied")
    assert read_json(FIXTURES / "t5-untied" / "config.json", "config")["tie_word_embeddings"] is True
    assert not config.tied_output
    assert "output.weight" in weights
