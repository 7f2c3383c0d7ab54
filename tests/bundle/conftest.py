"""The tiny bundle as a fixture, and a cache of its own for each test."""

import pytest

from tests.bundle.tiny_bundle import build_tiny_bundle


@pytest.fixture(autouse=True)
def bundle_cache(tmp_path_factory, monkeypatch):
    """An empty cache for each test: what one has verified, another has not."""
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EDGEKIT_CACHE", str(path))
    return path


@pytest.fixture
def tiny_bundle(tmp_path):
    return build_tiny_bundle(tmp_path / "tiny-fp32")
