"""Stand-in bundles: a behaviour file a variant, run by `stand_in_worker.py` in a real process."""

import json

import pytest

from edgekit.bench.environment import Environment
from edgekit.bench.variants import Variant
from edgekit.quality.parallel_text import TestSet


@pytest.fixture
def make_variant(tmp_path):
    """Call with a name, a precision and a behaviour; gives a `Variant`."""

    def make(name="marian-int8", precision="int8", **behaviour):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(behaviour))
        return Variant(path, "marian", precision, "embedded marian", "en", "de", 12_300_000)

    return make


@pytest.fixture
def testset():
    sources = tuple(f"the dog number {index} sleeps well" for index in range(10))
    references = tuple(f"der Hund Nummer {index} schläft gut" for index in range(10))
    return TestSet("dogs", sources, references, "ab" * 32, "CC0 1.0")


@pytest.fixture
def quiet_machine():
    return Environment(
        cpu="Test CPU",
        architecture="x86_64",
        isa_flags=("avx2", "avx512_vnni"),
        cores_physical=2,
        cores_logical=4,
        cores_usable=4,
        memory_bytes=8_000_000_000,
        governor="performance",
        os="Linux 6",
        python="3.12.1",
        versions={"edgekit": "0.1.0", "onnxruntime": "1.32.0", "numpy": "2.4", "tokenizers": None},
        load_average_1m=0.1,
        background_cores_before=0.0,
    )
