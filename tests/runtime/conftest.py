"""Tiny bundles to run: with a shortlist and a recurrent decoder, with a growing cache, and one that never ends."""

import pytest

from edgekit.export.pipeline import export_checkpoint
from edgekit.export.sources.local_directory import read_directory
from edgekit.runtime import load
from tests.bergamot_fixture import make_student
from tests.graph.marian_checkpoints import make_marian, save_marian

POSITIONS = 63  # no multiple of four, to which sources are padded


@pytest.fixture(scope="session")
def student_bundle(tmp_path_factory):
    """A Bergamot student in int8, with a shortlist."""
    directory = tmp_path_factory.mktemp("student")
    make_student(directory, vocab=150, d=16, ffn=32, encoder_layers=2, decoder_layers=2, heads=2)
    return export_checkpoint(read_directory(directory, "student"), "int8", directory / "bundle")


@pytest.fixture(scope="session")
def student_fp32_bundle(tmp_path_factory, student_bundle):
    return export_checkpoint(
        read_directory(student_bundle.parent, "student"), "fp32", tmp_path_factory.mktemp("student") / "fp32"
    )


@pytest.fixture(scope="session")
def two_tokenizers_bundle(tmp_path_factory):
    """A student whose sides have a vocabulary each."""
    directory = tmp_path_factory.mktemp("two-tokenizers")
    sizes = {"vocab": 150, "d": 16, "ffn": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 2}
    make_student(directory, **sizes, separate_vocab=True)
    return export_checkpoint(read_directory(directory, "student"), "int8", directory / "bundle")


@pytest.fixture(scope="session")
def marian_bundle(tmp_path_factory):
    """A MarianMT of 63 positions in int8."""
    directory = tmp_path_factory.mktemp("marian")
    save_marian(make_marian(max_position_embeddings=POSITIONS, decoder_layers=2), directory)
    return export_checkpoint(read_directory(directory, "marian"), "int8", directory / "bundle")


@pytest.fixture(scope="session")
def endless_bundle(tmp_path_factory):
    """A MarianMT that never chooses EOS."""
    directory = tmp_path_factory.mktemp("endless")
    save_marian(make_marian(eos_bias=-1e4, max_position_embeddings=POSITIONS), directory)
    return export_checkpoint(read_directory(directory, "endless"), "fp32", directory / "bundle")


@pytest.fixture(scope="session")
def generator(endless_llama):
    return load(endless_llama)
