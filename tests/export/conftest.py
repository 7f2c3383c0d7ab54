"""A tiny llama of transformers, and its repository to be changed."""

import shutil

import pytest


@pytest.fixture(scope="session")
def llama():
    """Not to be changed."""
    from tests.export.causal_lm_directories import make_model

    return make_model("llama")


@pytest.fixture(scope="session")
def saved_llama(llama, tmp_path_factory):
    """It as on the hub; not to be changed."""
    from tests.export.causal_lm_directories import save_checkpoint

    return save_checkpoint(tmp_path_factory.mktemp("llama") / "tiny", llama)


@pytest.fixture
def repository(saved_llama, tmp_path):
    return shutil.copytree(saved_llama, tmp_path / "tiny")
