"""What a search may choose for a tensor."""

from edgekit.gate.candidates import FORMATS
from edgekit.quantize.blockwise import BlockFormat
from edgekit.quantize.scheme import SCHEMES


def test_whatever_a_scheme_of_blocks_gives_a_tensor_of_a_language_model_can_be_mixed():
    named = {
        wanted
        for scheme in SCHEMES["causal-lm"].values()
        for wanted in scheme.formats
        if isinstance(wanted, BlockFormat) and not wanted.needs_calibration
    }
    assert len(named) > 2
    assert named <= set(FORMATS["causal-lm"].values())
