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
