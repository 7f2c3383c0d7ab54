"""Which format a weight gets, and which precisions there are."""

import pytest

from edgekit.errors import UnsupportedError
from edgekit.quantize.blockwise import BlockFormat
from edgekit.quantize.scheme import ChannelFormat, Scheme, named_scheme

FOUR, EIGHT = BlockFormat(4, 32), BlockFormat(8, 32)


def test_the_first_exception_that_fits_counts():
    scheme = Scheme(FOUR, (("layers.0.*", None), ("*.down.weight", EIGHT)))
    assert scheme.format_of("layers.0.feed_forward.down.weight") is None
    assert scheme.format_of("layers.10.feed_forward.down.weight") == EIGHT
    assert scheme.format_of("layers.10.feed_forward.up.weight") == FOUR


def test_an_added_exception_goes_before_the_others():
    scheme = Scheme(FOUR, (("output.*", EIGHT),)).with_exception("*.weight", None)
    assert scheme.format_of("output.weight") is None
    assert Scheme(FOUR, (("output.*", EIGHT),)).format_of("output.weight") == EIGHT


def test_fp32_quantises_nothing():
    assert named_scheme("causal-lm", "fp32") == Scheme(None)


def test_seq2seq_has_int8_a_channel():
    scheme = named_scheme("seq2seq", "int8")
    assert scheme.format_of("encoder.layers.0.self_attention.qkv.weight") == ChannelFormat()
    assert scheme.format_of("positions.weight") is None


@pytest.mark.parametrize("name", ["embedding.weight", "output.weight"])
def test_the_output_layer_keeps_eight_bits_in_int4(name):
    assert named_scheme("causal-lm", "int4").format_of(name).bits == 8
    assert named_scheme("causal-lm", "int4").format_of("layers.3.attention.qkv.weight").bits == 4


@pytest.mark.parametrize(
    ("kind", "precision", "message"),
    [
        ("seq2seq", "int4", r"^a seq2seq model has the schemes fp32, int8, .*, not int4$"),
        ("causal-lm", "int2", r"^a causal-lm model has the schemes fp32, int8, .*, int4.*, not int2$"),
    ],
)
def test_a_precision_that_a_kind_lacks_is_refused(kind, precision, message):
    with pytest.raises(UnsupportedError, match=message):
        named_scheme(kind, precision)
