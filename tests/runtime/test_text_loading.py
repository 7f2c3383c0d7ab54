"""Loading and closing text generators: what a bundle is loaded as, what of it is checked, what a closed one says."""

import dataclasses
import json
import subprocess
import sys

import pytest

import edgekit
import edgekit.runtime
from edgekit.errors import BundleError, InputError, ModelNotFoundError
from edgekit.runtime import TextGenerator, Translator, causal_search
from tests.runtime.causal_lm_bundles import CHATML, CONTEXT, byte_level, write_text_bundle


class TestClosing:
    def test_a_closed_generator_says_so(self, endless_llama):
        with TextGenerator.load(endless_llama) as generator:
            stream = generator.stream("x", max_new_tokens=5)
            assert generator.generate("x", max_new_tokens=2)
        for call in (
            lambda: generator.generate("x"),
            lambda: generator.stream("x"),
            lambda: generator.score(["x"]),
            lambda: generator.logits([5]),
        ):
            with pytest.raises(InputError, match=r"^this text generator has been closed; load the model again$"):
                call()
        assert len(list(stream)) > 0  # what was begun ends as usual
        generator.close()

    def test_a_closed_stream_runs_no_more(self, endless_llama, monkeypatch):
        generator, steps = TextGenerator.load(endless_llama), []
        step = causal_search._Batch.step
        monkeypatch.setattr(causal_search._Batch, "step", lambda self: steps.append(1) or step(self))
        stream = generator.stream_ids([5, 6], max_new_tokens=100)
        next(stream), next(stream)
        stream.close()
        assert list(stream) == []
        assert len(steps) == 1


class TestLoading:
    def test_a_bundles_kind_decides_what_it_is_loaded_as(self, endless_llama, marian_bundle):
        assert isinstance(edgekit.load(endless_llama), TextGenerator)
        assert isinstance(edgekit.load(str(endless_llama), threads=2), TextGenerator)
        assert isinstance(edgekit.load(marian_bundle), Translator)
        assert isinstance(Translator.load(marian_bundle), Translator)

    def test_the_other_kind_is_refused(self, endless_llama, marian_bundle):
        with pytest.raises(BundleError, match="a causal-lm bundle can't translate; export a seq2seq model"):
            Translator.load(endless_llama)
        with pytest.raises(BundleError, match="a seq2seq bundle can't generate text; export a decoder-only model"):
            TextGenerator.load(marian_bundle)

    def test_what_is_no_bundle_is_refused(self, tmp_path):
        with pytest.raises(ModelNotFoundError):
            TextGenerator.load(tmp_path / "nothing")

    @pytest.mark.parametrize("threads", [0, 1.5, "2"])
    def test_threads_that_are_none_are_refused(self, endless_llama, threads):
        with pytest.raises(InputError, match=f"threads must be a whole number from 1, found {threads!r}"):
            TextGenerator.load(endless_llama, threads=threads)

    def test_what_a_bundle_says_is_at_hand(self, generator):
        assert generator.manifest.kind == "causal-lm"
        assert generator.context_length == CONTEXT
        assert generator.decode(generator.encode("Größe 😀")) == "Größe 😀"

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"dtype": "int8"}, "state key_0: expected float32, found int8"),
            (
                {"batch_axis": 1, "shape": ("x", "batch", "capacity", 16)},
                "state key_0: expected an appended state whose",
            ),
        ],
    )
    def test_a_manifest_that_does_not_fit_its_graph_is_refused(self, generator, change, problem):
        first, *others = generator.manifest.state
        manifest = dataclasses.replace(generator.manifest, state=(dataclasses.replace(first, **change), *others))
        with pytest.raises(BundleError, match=f"^the bundle's manifest does not fit its graphs: .*{problem}"):
            edgekit.runtime.ports.check_causal_ports(manifest, generator._search.session)

    def test_a_state_that_is_missing_is_named(self, generator):
        manifest = dataclasses.replace(generator.manifest, state=generator.manifest.state[1:])
        message = (
            "the graph's inputs have past_key_0, which the manifest does not explain; the graph's outputs have present"
        )
        with pytest.raises(BundleError, match=message):
            edgekit.runtime.ports.check_causal_ports(manifest, generator._search.session)

    def test_importing_the_runtime_imports_neither_tokenizers_nor_jinja(self):
        code = (
            "import sys, edgekit.runtime as r; print('tokenizers' in sys.modules, 'jinja2' in sys.modules);"
            "r.TextGenerator; print('tokenizers' in sys.modules, 'jinja2' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.split() == ["False", "False", "True", "False"]

    def test_the_package_has_nothing_else(self):
        with pytest.raises(AttributeError, match=r"module 'edgekit\.runtime' has no attribute 'Nothing'"):
            _ = edgekit.runtime.Nothing


def test_the_templates_file_is_checked_like_all_others(llama_case, tmp_path):
    bundle = write_text_bundle(tmp_path / "lm", llama_case, byte_level())
    (bundle / "chat_template.jinja").write_text(CHATML.replace("a", "b"), encoding="utf-8")
    with pytest.raises(BundleError, match=r"chat_template\.jinja: expected SHA-256"):
        TextGenerator.load(bundle)
    assert json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["chat"]["template"] == "chat_template.jinja"
