"""Runs an fp32 bundle over texts and collects what the inputs of its products look like.

In: a bundle and any number of texts, taken one by one, so an endless stream with a limit will do. Out: a `Calibration`.
The graphs are the bundle's own with the products' inputs as further outputs; translations are greedy, or the targets
that are given. Each text runs alone, so no padding is counted. Memory: one text's activations, and of each product four
vectors, the 256 rows that are kept and as many that wait to be counted. The same texts and seed give the same result.

The texts decide what int8 can hold: take some like those that the model will see, and never a test set.
"""

from __future__ import annotations

import itertools
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from edgekit.bundle.manifest import Generation, TextGeneration
from edgekit.bundle.read import Bundle, open_bundle
from edgekit.errors import InputError
from edgekit.graph.products import find_products
from edgekit.graph.weights_file import WEIGHTS_FILE
from edgekit.quantize.calibration import Calibration, ProductInputs
from edgekit.runtime.greedy import GreedySearch
from edgekit.runtime.hub_tokenizer import HubTokenizer
from edgekit.runtime.languages import Prompt, find_prompt
from edgekit.runtime.session import EXTERNAL_DATA_FOLDER, session_options
from edgekit.runtime.shortlist import load_shortlist
from edgekit.runtime.tokenizer import Tokenizer

# Rows of each product that are kept: 100 MB for the 121 products of SmolLM2-135M.
SAMPLE_ROWS = 256
# Most tokens of a text that a decoder-only model reads at once.
WINDOW = 256

Rows = NDArray[np.float32]


def calibrate(
    source: Path,
    texts: Iterable[str],
    targets: Iterable[str] | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
    source_language: str | None = None,
    target_language: str | None = None,
    name: str | None = None,
    progress: Callable[[int], None] = lambda texts: None,
) -> Calibration:
    """Collects statistics of an fp32 bundle's products.

    Args:
        source: the bundle.
        texts: sentences to translate, or texts to read; texts without a token are left out.
        targets: a translation for each text that the decoder is made to say; None for what it says by itself. Not for
            a decoder-only model, which reads the texts and generates nothing.
        limit: most texts that are taken; None for all.
        seed: of the sample of rows.
        source_language: of the texts, for a model of many languages.
        target_language: to translate into, likewise.
        name: of the texts, for the manifest of what is made with the calibration.
        progress: called after each text with the number of texts so far.

    Raises:
        InputError: the bundle is not fp32, there is no text, ``targets`` are not as many as ``texts``, or a model of
            many languages is told none.
        BundleError: the bundle is missing or damaged.
    """
    bundle = open_bundle(source)
    if bundle.manifest.precision != "fp32":
        raise InputError(f"{source} is {bundle.manifest.precision}; calibration takes an fp32 bundle")
    if targets is not None and bundle.manifest.kind != "seq2seq":
        raise InputError(f"{source} is a decoder-only model; calibration takes targets for translation models only")
    recorder = Recorder(seed)
    run: _Translations | _Reading
    if bundle.manifest.kind == "seq2seq":
        run = _Translations(bundle, recorder, find_prompt(bundle.manifest, source_language, target_language))
    else:
        run = _Reading(bundle, recorder)
    count = tokens = 0
    for text, target in itertools.islice(_pairs(texts, targets), limit):
        if found := run.run(text, target):
            count, tokens = count + 1, tokens + found
            progress(count)
    if not count:
        raise InputError("calibration needs at least one text with a token in it, found none")
    return Calibration(bundle.manifest.files[WEIGHTS_FILE].sha256, count, tokens, seed, recorder.inputs(), name)


def _pairs(texts: Iterable[str], targets: Iterable[str] | None) -> Iterable[tuple[str, str | None]]:
    if targets is None:
        yield from ((text, None) for text in texts)
        return
    missing = object()
    for text, target in itertools.zip_longest(texts, targets, fillvalue=missing):
        if not isinstance(text, str) or not isinstance(target, str):
            raise InputError("calibration needs as many targets as texts; one of the two ended first")
        yield text, target


class Recorder:
    """Statistics of products by their weights' names."""

    def __init__(self, seed: int) -> None:
        """Starts with nothing; ``seed`` decides which rows are kept."""
        self._seed = seed
        self._statistics: dict[str, _Statistics] = {}

    def add(self, weight: str, rows: Rows) -> None:
        """Adds some rows, ``float32 [rows, width]``, of the input of the product with a weight."""
        if weight not in self._statistics:
            self._statistics[weight] = _Statistics(rows.shape[1], [self._seed, zlib.crc32(weight.encode())])
        self._statistics[weight].add(rows)

    def inputs(self) -> dict[str, ProductInputs]:
        """What was seen so far, by name."""
        return {weight: self._statistics[weight].result() for weight in sorted(self._statistics)}


class _Statistics:
    """Of one product; the sample is the rows with the smallest random keys, whatever pieces they came in."""

    def __init__(self, width: int, seed: Sequence[int]) -> None:
        self._random = np.random.default_rng(seed)
        self._rows = 0
        self._largest = np.zeros(width, np.float32)
        self._absolute, self._square = np.zeros(width), np.zeros(width)
        self._keys, self._sample = np.zeros(0), np.zeros((0, width), np.float32)
        self._waiting: list[Rows] = []
        self._waiting_rows = 0

    def add(self, rows: Rows) -> None:
        # A decoder's step brings one row: several are worked on together.
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        if self._waiting_rows >= SAMPLE_ROWS:
            self._work_off()

    def _work_off(self) -> None:
        if not self._waiting:
            return
        rows, self._waiting, self._waiting_rows = np.concatenate(self._waiting), [], 0
        magnitudes = np.abs(rows)
        self._rows += len(rows)
        np.maximum(self._largest, magnitudes.max(axis=0), out=self._largest)
        self._absolute += magnitudes.sum(axis=0, dtype=np.float64)
        self._square += np.square(rows, dtype=np.float64).sum(axis=0)
        keys = np.concatenate([self._keys, self._random.random(len(rows))])
        kept = np.argsort(keys, kind="stable")[:SAMPLE_ROWS]
        self._keys, self._sample = keys[kept], np.concatenate([self._sample, rows])[kept]

    def result(self) -> ProductInputs:
        self._work_off()
        mean_absolute, mean_square = (
            (total / self._rows).astype(np.float32) for total in (self._absolute, self._square)
        )
        return ProductInputs(self._rows, self._largest, mean_absolute, mean_square, self._sample)


class RecordingSession:
    """An onnxruntime session of a bundle's graph that hands its products' inputs to a recorder at each run."""

    def __init__(self, bundle: Bundle, graph: str, recorder: Recorder) -> None:
        """Loads the graph with further outputs; the bundle's directory is not written to."""
        model = ir.load(bundle.path_of(bundle.manifest.graphs[graph].file))
        self._weights = _expose_inputs(model)
        self._names, self._recorder = list(self._weights), recorder
        options = session_options()
        options.add_session_config_entry(EXTERNAL_DATA_FOLDER, str(bundle.path))
        data = ir.to_proto(model).SerializeToString()
        self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def get_inputs(self) -> Any:
        """The graph's inputs."""
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        """The bundle's outputs, without those added."""
        return [output for output in self._session.get_outputs() if output.name not in self._weights]

    def io_binding(self) -> Any:
        """A binding for `run_with_iobinding`."""
        return self._session.io_binding()

    def run(self, names: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Runs the graph: the outputs of these names."""
        found = self._session.run([*names, *self._names], feeds)
        self._record(found[len(names) :])
        return found[: len(names)]

    def run_with_ort_values(self, names: Sequence[str], feeds: Mapping[str, ort.OrtValue]) -> list[ort.OrtValue]:
        """Likewise, in onnxruntime's memory; an encoder's: rows of padding are not recorded."""
        found = self._session.run_with_ort_values([*names, *self._names], feeds)
        is_token = feeds["attention_mask"].numpy().ravel() == 1
        self._record([value.numpy()[is_token] for value in found[len(names) :]])
        return found[: len(names)]

    def run_with_iobinding(self, binding: Any) -> None:
        """Runs the graph with what is bound."""
        for name in self._names:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        # Those bound first, by the caller, come first, at later runs too.
        self._record([value.numpy() for value in binding.get_outputs()[-len(self._names) :]])

    def _record(self, arrays: Sequence[Rows]) -> None:
        for name, rows in zip(self._names, arrays, strict=True):
            for weight in self._weights[name]:
                self._recorder.add(weight, rows)


def _expose_inputs(model: ir.Model) -> dict[str, list[str]]:
    """Makes the input of each product an output of the graph: the weights that it meets, by the output's name."""
    weights: dict[str, list[str]] = defaultdict(list)
    for product in find_products(model):
        value = product.input
        assert value.name is not None, "values of a graph that was read have names"
        if value.name not in weights:
            value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([None, None])
            model.graph.outputs.append(value)
        weights[value.name].append(product.weight)
    return weights


class _Translations:
    """Translates text by text."""

    def __init__(self, bundle: Bundle, recorder: Recorder, prompt: Prompt) -> None:
        manifest, files = bundle.manifest, bundle.manifest.tokenizer
        assert isinstance(manifest.generation, Generation)
        self._generation, self._prompt = manifest.generation, prompt
        unk = self._generation.unk_token_id
        self._source = Tokenizer.load(bundle.path_of(files.source), files.source_vocab_size, unk)
        self._target = Tokenizer.load(bundle.path_of(files.target), files.target_vocab_size, unk)
        encoder, decoder = (RecordingSession(bundle, graph, recorder) for graph in ("encoder", "decoder"))
        self._search = GreedySearch(manifest, encoder, decoder, load_shortlist(bundle.file, manifest))

    def run(self, text: str, target: str | None) -> int:
        """Source and target tokens of a translation; 0 for a text without any."""
        generation, prompt = self._generation, self._prompt
        ids = self._source.encode(text)[: generation.max_source_tokens - prompt.length]
        if not ids:
            return 0
        row = prompt.around(ids)
        if target is None:
            return len(row) + len(self._search.search([row], start_ids=prompt.start_ids)[0])
        said = self._target.encode(target)[: generation.max_length - len(prompt.start_ids)]
        self._search.search([row], len(prompt.start_ids) + len(said), [*prompt.start_ids, *said])
        return len(row) + len(said)


class _Reading:
    """Reads text by text with a decoder-only model."""

    def __init__(self, bundle: Bundle, recorder: Recorder) -> None:
        manifest, files = bundle.manifest, bundle.manifest.tokenizer
        assert isinstance(manifest.generation, TextGeneration)
        self._generation, self._states = manifest.generation, manifest.state
        self._tokenizer = HubTokenizer.load(bundle.path_of(files.source), files.source_vocab_size)
        self._session = RecordingSession(bundle, "model", recorder)

    def run(self, text: str, target: str | None) -> int:
        """Tokens of a text; all beyond a window's length begin anew."""
        ids = self._tokenizer.encode(text)
        bos = [self._generation.bos_token_id] if self._generation.adds_bos else []
        window = min(WINDOW, self._generation.context_length) - len(bos)
        for start in range(0, len(ids), window):
            self._read(np.array([*bos, *ids[start : start + window]], np.int64))
        return len(ids)

    def _read(self, ids: NDArray[np.int64]) -> None:
        feeds = {
            "input_ids": ids[None],
            "past_lengths": np.zeros(1, np.int32),
            "sequence_lengths": np.array([len(ids)], np.int32),
            "added_queries": np.zeros(1, np.int64),
            "output_rows": np.arange(len(ids)),
        }
        for state in self._states:
            shape = [1 if size == "batch" else len(ids) if size == "capacity" else int(size) for size in state.shape]
            feeds[state.past] = np.zeros(shape, np.float32)
        self._session.run(["next_ids"], feeds)
