"""Options of `edgekit quantize` and `export` that contradict each other, or that would change nothing, are refused."""

import os

import pytest

from tests.cli.command import assert_fails, edgekit_here


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cost", "size"], "--cost says what --search makes as small as it can; give --search, too, or leave it out"),
        (["--cost", "time", "--max-loss", "chrf=1"], "--cost says what --search makes as small as it can"),
        (["--precision", "int4", "--search", "--max-loss", "kl=1"], "--search chooses the formats, of 4 bits too"),
    ],
)
@pytest.mark.parametrize("command", ["quantize", "export"])
def test_an_option_that_would_be_ignored_is_refused_before_any_work(command, options, words, tmp_path):
    assert_fails(edgekit_here(command, "no-such-model", *options, cwd=tmp_path), 1, words)


def test_a_scheme_of_another_precision_than_the_one_asked_for_is_refused(embedded_fp32, tmp_path):
    done = edgekit_here("quantize", embedded_fp32, "--precision", "int4", "--scheme", "int8-dynamic", cwd=tmp_path)
    assert_fails(done, 1, "--scheme int8-dynamic makes an int8 bundle, not an int4 one; leave --precision out")
    assert os.listdir(tmp_path) == []
