"""Stand-in bundles, a behaviour file a variant, run by `stand_in_worker.py` in a real process; tiny language models."""

import json

import pytest

from edgekit.bench.environment import Environment
from edgekit.bench.variants import Variant
from edgekit.quality.parallel_text import TestSet
from edgekit.quality.plain_text import EvaluationText
from edgekit.quantize.scheme import named_scheme
from edgekit.quantize.weights import quantize_weights
from tests.runtime.causal_lm_bundles import TEXTS, byte_level, write_text_bundle


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


@pytest.fixture(scope="session")
def text_bundles(tmp_path_factory, llama_case):
    """It as bundles in fp32, int8 and int4."""
    directory = tmp_path_factory.mktemp("texts")
    bundles = []
    for precision in ("fp32", "int8", "int4"):
        weights = None
        if precision != "fp32":
            weights = quantize_weights(llama_case.weights, named_scheme("causal-lm", precision))
        bundle = directory / f"tiny-{precision}"
        bundles.append(write_text_bundle(bundle, llama_case, byte_level(), precision=precision, weights=weights))
    return bundles


@pytest.fixture(scope="session")
def bos_bundle(tmp_path_factory, llama_case):
    """It as a model whose texts begin with token 1."""
    directory = tmp_path_factory.mktemp("texts") / "tiny-bos"
    return write_text_bundle(directory, llama_case, byte_level(), bos_token_id=1, adds_bos=True)


@pytest.fixture(scope="session")
def prose():
    """A text of some 300 tokens of these models."""
    return EvaluationText("prose", "\n".join(TEXTS), "cd" * 32, "CC0 1.0")
