"""What every test gets: no network, a cache of its own, one thread a library."""

import os

import pytest

# Before any test imports huggingface_hub or a BLAS, which read these once. Subprocesses inherit them too.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def edgekit_cache(tmp_path_factory):
    """An empty EDGEKIT_CACHE for the whole session, so that nothing depends on or changes the user's own."""
    path = tmp_path_factory.mktemp("edgekit-cache")
    previous = os.environ.get("EDGEKIT_CACHE")
    os.environ["EDGEKIT_CACHE"] = str(path)
    yield path
    if previous is None:
        del os.environ["EDGEKIT_CACHE"]
    else:
        os.environ["EDGEKIT_CACHE"] = previous


@pytest.fixture(scope="session")
def embedded_int8(tmp_path_factory):
    """The embedded marian-en-de, exported to an int8 bundle; not to be changed."""
    from edgekit.export import export

    return export("marian-en-de", "int8", tmp_path_factory.mktemp("bundles") / "marian-en-de-int8", "embedded")


@pytest.fixture(scope="session")
def embedded_fp32(tmp_path_factory):
    """The same as an fp32 bundle; not to be changed."""
    from edgekit.export import export

    return export("marian-en-de", "fp32", tmp_path_factory.mktemp("bundles") / "marian-en-de-fp32", "embedded")


@pytest.fixture(scope="session")
def llama_case():
    """A random llama of 320 tokens and a context of 160; not to be changed."""
    from tests.graph.causal_lm_checkpoints import make_llama
    from tests.runtime.causal_lm_bundles import CONTEXT, sized

    return sized(make_llama(vocab_size=320, max_position_embeddings=CONTEXT), 320)


@pytest.fixture(scope="session")
def endless_llama(tmp_path_factory, llama_case):
    """It as a bundle in fp32 whose texts never end by themselves; not to be changed."""
    from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle

    directory = tmp_path_factory.mktemp("bundles") / "tiny-fp32"
    return write_text_bundle(directory, llama_case, byte_level(), eos_token_ids=())
