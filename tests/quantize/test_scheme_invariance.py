"""Under every scheme a text's logits are the same, bit for bit, alone and in any batch."""

import numpy as np
import pytest

from edgekit.export.read_marian import read_marian
from edgekit.export.sources.local_directory import read_directory
from edgekit.quantize.migration import migrate
from edgekit.quantize.scheme import SCHEMES
from edgekit.quantize.weights import quantize_weights
from tests.graph.causal_lm_checkpoints import VOCAB, make_llama
from tests.graph.causal_lm_session import CausalLMSession
from tests.graph.marian_checkpoints import make_marian, save_marian
from tests.graph.row_kernels import need_rows_that_agree
from tests.graph.test_batch_invariance import LONGEST, SENTENCES, Batches
from tests.quantize.random_calibration import calibration_of

# The other names are other ways to the same graphs; int8 of both kinds and fp32 have tests of their own.
SEQ2SEQ = ("int8-dynamic", "int8-static", "int8-smooth", "int8-blocks", "int8-weights")
CAUSAL_LM = ("int8-dynamic", "int8-static", "int8-smooth", "int8-weights", "int4-awq", "int4-compact")
SMOOTH_BLOCKS = "int8-smooth-blocks"
NARROW = {"hidden_size": 144, "intermediate_size": 208}
# Rows that blocks of 64 fit, one of them with padding.
WIDE = {"hidden_size": 192, "intermediate_size": 240}
TEXTS = [np.random.default_rng(5).integers(0, VOCAB, length) for length in (9, 2, 33, 4)]


def quantized(config, weights, scheme):
    migrated, calibration = migrate(config, weights, scheme, calibration_of(weights))
    return quantize_weights(migrated, scheme, calibration)


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    sizes = {"d_model": 64, "encoder_layers": 2, "max_position_embeddings": LONGEST + 8}
    model = make_marian(activation_function="relu", **sizes)
    return read_marian(read_directory(save_marian(model, tmp_path_factory.mktemp("marian")), "tiny"))


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_a_sentence_does_not_depend_on_its_neighbours(name, marian, tmp_path):
    weights = quantized(marian.config, marian.weights, SCHEMES["seq2seq"][name])
    batches = Batches(marian, "int8", tmp_path, weights)
    alone = [batches.run([i])[0] for i in range(SENTENCES)]
    for _ in range(3):
        indices = batches.some()
        for i, (logits, choices) in zip(indices, batches.run(indices), strict=True):
            np.testing.assert_array_equal(logits, alone[i][0])
            np.testing.assert_array_equal(choices, alone[i][1])


@pytest.mark.parametrize(
    ("name", "sizes"), [*((name, NARROW) for name in CAUSAL_LM), (SMOOTH_BLOCKS, NARROW), (SMOOTH_BLOCKS, WIDE)]
)
def test_a_text_does_not_depend_on_its_neighbours(name, sizes, tmp_path):
    case = make_llama(**sizes, num_attention_heads=3, num_key_value_heads=1, head_dim=64)
    scheme = SCHEMES["causal-lm"][name]
    need_rows_that_agree(scheme.precision)
    session = CausalLMSession(tmp_path, case.config, quantized(case.config, case.weights, scheme), scheme.precision)

    def read(texts):
        session.start(len(texts), 48)
        return np.stack(
            [session.run([text[:-1] for text in texts]), session.run([text[-1:] for text in texts])], axis=1
        )

    alone = np.concatenate([read([text]) for text in TEXTS])
    np.testing.assert_array_equal(read(TEXTS), alone)
    np.testing.assert_array_equal(read(TEXTS[2:0:-1]), alone[2:0:-1])


def test_every_scheme_is_tried_here_or_where_graphs_are_tested():
    assert set(SCHEMES["seq2seq"]) - {"fp32", "int8"} == set(SEQ2SEQ)
    assert set(SCHEMES["causal-lm"]) - {"fp32", "int8", "int8-blocks", "int4", "int4-calibrated"} == {
        *CAUSAL_LM,
        SMOOTH_BLOCKS,
    }
