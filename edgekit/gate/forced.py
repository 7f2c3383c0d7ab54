"""Runs graphs that were never written: a bundle's, with some of its weights replaced, over the same ids each time.

What a tensor costs alone is seen where all models read the same words: an encoder-decoder is given the fp32 model's own
translation token by token, a decoder-only model running text. The graphs are built as an export builds them, so that a
quantised tensor has the arithmetic that it will have, activations included, and run from memory: weights come from the
fp32 bundle's file, those that were replaced from arrays that onnxruntime takes in their place.

In: an fp32 bundle, and tensors by name. Out: logits, ``float32 [tokens, vocabulary]``. Nothing is written to disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from edgekit.bundle.generation import Generation
from edgekit.bundle.read import Bundle
from edgekit.errors import UnsupportedError
from edgekit.graph.causal_lm import build_causal_lm, cache_tensors
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.causal_lm_weights import weight_shapes
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.decoder import build_decoder
from edgekit.graph.encoder import build_encoder
from edgekit.graph.foreign import IMPORTED
from edgekit.graph.seq2seq import state_tensors
from edgekit.graph.tensors import Tensor
from edgekit.graph.weights_file import WEIGHTS_FILE, StoredTensor, arrays_of, load_weights, stored_tensors
from edgekit.runtime import Translator
from edgekit.runtime.batching import pad
from edgekit.runtime.greedy import initial_value
from edgekit.runtime.languages import find_prompt
from edgekit.runtime.session import EXTERNAL_DATA_FOLDER, run_graph, session_options
from edgekit.runtime.shortlist import load_shortlist

# Offsets into the weights file that no file reaches: they mark what comes from memory instead.
IN_MEMORY = 1 << 60

Logits = NDArray[np.float32]


@dataclass
class FloatModel:
    """An fp32 bundle's weights as floats, and where those lie that its file holds as floats.

    Attributes:
        bundle: the fp32 bundle.
        weights: by name; tensors that the checkpoint shipped quantised are dequantised.
        shipped: those of them, as they were shipped.
    """

    bundle: Bundle
    weights: dict[str, NDArray[Any]]
    shipped: dict[str, Tensor]
    stored: dict[str, StoredTensor] = field(repr=False)

    @classmethod
    def read(cls, bundle: Bundle) -> FloatModel:
        """Reads the weights of an opened bundle.

        Raises:
            UnsupportedError: its graphs were imported, so that none can be built around other weights.
        """
        if bundle.manifest.architecture.get(IMPORTED):
            raise UnsupportedError(
                f"{bundle.path}: an imported bundle's tensors can't be tried one by one, as kl of a translation, "
                "--search and inspect --error do; use --max-loss with chrf, bleu or ppl"
            )
        path = bundle.path_of(WEIGHTS_FILE)
        loaded = weights_of(bundle)
        shipped: dict[str, Tensor] = {
            name: tensor for name, tensor in loaded.items() if not isinstance(tensor, np.ndarray)
        }
        floats = {name: _floats(tensor) for name, tensor in loaded.items()}
        return cls(bundle, floats, shipped, stored_tensors(path.parent))


def _floats(tensor: Tensor) -> NDArray[Any]:
    return tensor if isinstance(tensor, np.ndarray) else tensor.dequantize()


class Variant:
    """The weights of a model of which some are replaced; makes sessions of the graphs that are built of them."""

    def __init__(self, model: FloatModel, changes: Mapping[str, Tensor], threads: int = 1) -> None:
        """Takes the tensors that are not what the float model has."""
        self._folder, self._threads = model.bundle.path, threads
        self.weights: dict[str, Tensor] = {**model.weights, **changes}
        self._arrays: dict[int, NDArray[Any]] = {}
        self.stored = dict(model.stored)
        replaced = dict(changes)
        for name in model.shipped.keys() - changes.keys():
            replaced[name] = model.weights[name]
        for name, array in arrays_of(replaced).items():
            offset = IN_MEMORY + len(self._arrays)
            self._arrays[offset] = np.ascontiguousarray(array)
            self.stored[name] = StoredTensor(str(array.dtype), array.shape, offset, array.nbytes)
        self._changed = {self.stored[name].offset for name in arrays_of(changes)}

    def uses_changes(self, model: ir.Model) -> bool:
        """Whether a graph has a weight that was replaced."""
        return any(offset in self._changed for _, offset, _ in _external(model))

    def tensor_names(self, model: ir.Model) -> dict[str, str]:
        """The tensor that each of a graph's initialisers belongs to, itself or as its scales."""
        owners = {
            self.stored[part].offset: name
            for name, tensor in self.weights.items()
            for part in arrays_of({name: tensor})
        }
        return {name: owners[offset] for name, offset, _ in _external(model)}

    def session(self, model: ir.Model, profile: Path | None = None) -> ort.InferenceSession:
        """A session of a graph built of `weights` and `stored`; with ``profile``, files that begin so get its times."""
        given = {
            name: self._arrays[offset].reshape(shape)
            for name, offset, shape in _external(model)
            if offset in self._arrays
        }
        options = session_options(self._threads)
        options.add_session_config_entry(EXTERNAL_DATA_FOLDER, str(self._folder))
        options.add_external_initializers(list(given), [ort.OrtValue.ortvalue_from_numpy(a) for a in given.values()])
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        content = ir.to_proto(model).SerializeToString()
        return run_graph(ort.InferenceSession, content, options, ["CPUExecutionProvider"])


def _external(model: ir.Model) -> list[tuple[str, int, tuple[int, ...]]]:
    """Name, offset and shape of each initialiser that lies outside the graph."""
    found = []
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            assert tensor.offset is not None
            found.append((str(name), tensor.offset, tuple(int(size) for size in tensor.shape.numpy())))
    return found


@dataclass(frozen=True)
class ForcedTexts:
    """What an encoder-decoder reads and is made to say.

    Attributes:
        sources: source ids of each sentence, EOS included.
        outputs: target ids of each, without EOS.
    """

    sources: Sequence[Sequence[int]]
    outputs: Sequence[Sequence[int]]

    @classmethod
    def translated(cls, translator: Translator, texts: Sequence[str]) -> ForcedTexts:
        """Texts, each cut to what the model takes, and what the model makes of them, in its own languages."""
        generation, prompt = translator.manifest.generation, find_prompt(translator.manifest)
        assert isinstance(generation, Generation)
        room = generation.max_source_tokens - prompt.length
        sources = [prompt.around(translator.source_tokenizer.encode(text)[:room]) for text in texts]
        return cls(sources, translator.generate_ids(sources))

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Predictions of each sentence, EOS's among them: int64 [sentences]."""
        return np.array([len(output) + 1 for output in self.outputs])


class ForcedTranslation:
    """An encoder-decoder that is given its target, one batch of sentences at a time."""

    def __init__(self, model: FloatModel) -> None:
        """Loads the fp32 graphs, which a variant shares where none of its weights is in them."""
        self.model, manifest = model, model.bundle.manifest
        self._config = Seq2SeqConfig.from_dict(manifest.architecture)
        assert isinstance(manifest.generation, Generation)
        self._generation = manifest.generation
        self._shortlist = load_shortlist(model.bundle.file, manifest)
        self._encoder, self._decoder = self._sessions(Variant(model, {}), "fp32")

    def logits(self, texts: ForcedTexts, changes: Mapping[str, Tensor], precision: str) -> Logits:
        """Logits of every prediction, sentence by sentence; with a shortlist, of the batch's rows of it.

        Args:
            texts: one batch; its arrays are in memory at once.
            changes: tensors in the place of the float ones.
            precision: as the graph builders take it.
        """
        encoder, decoder = self._encoder, self._decoder
        if changes:
            encoder, decoder = self._sessions(Variant(self.model, changes), precision)
        steps = self.run(encoder, decoder, texts, "logits")
        first = len(self._generation.start_ids) - 1
        return np.concatenate([steps[first : first + count, row] for row, count in enumerate(texts.tokens)])

    def run(
        self, encoder: ort.InferenceSession, decoder: ort.InferenceSession, texts: ForcedTexts, output: str
    ) -> NDArray[Any]:
        """An output of the decoder at each step, ``[steps, sentences, ...]``, from the start's first id on."""
        start = self._generation.start_ids
        longest = int(texts.tokens.max()) - 1
        forced = np.full((len(texts.outputs), len(start) + longest), self._generation.eos_token_id, np.int64)
        forced[:, : len(start)] = start
        for row, ids in enumerate(texts.outputs):
            forced[row, len(start) : len(start) + len(ids)] = ids
        return self._steps(decoder, self._encode(encoder, texts.sources), forced, output)

    def graphs(self, variant: Variant, precision: str) -> tuple[ir.Model, ir.Model]:
        """The encoder and the decoder as a bundle has them."""
        parts = variant.weights, variant.stored, precision
        return build_encoder(self._config, *parts), build_decoder(self._config, *parts)

    def _sessions(self, variant: Variant, precision: str) -> tuple[ort.InferenceSession, ort.InferenceSession]:
        parts = variant.weights, variant.stored, precision
        encoder = build_encoder(self._config, *parts)
        decoder = build_decoder(self._config, *parts, output_logits=True)
        found = []
        for graph, known in ((encoder, "_encoder"), (decoder, "_decoder")):
            is_new = not hasattr(self, known) or variant.uses_changes(graph)
            found.append(variant.session(graph) if is_new else getattr(self, known))
        return found[0], found[1]

    def _encode(self, encoder: ort.InferenceSession, sources: Sequence[Sequence[int]]) -> dict[str, NDArray[Any]]:
        pad_id = self._generation.pad_token_id
        ids, mask = pad(sources, self._generation.eos_token_id if pad_id is None else pad_id)
        feeds: dict[str, NDArray[Any]] = {"input_ids": ids, "attention_mask": mask}
        shared: dict[str, NDArray[Any]] = {"attention_mask": mask}
        if self._shortlist is not None:
            feeds["shortlist"], feeds["shortlist_bias"] = self._shortlist.for_batch(sources)
            shared["shortlist"] = feeds["shortlist"]
        names = [output.name for output in encoder.get_outputs()]
        return shared | dict(zip(names, run_graph(encoder.run, names, feeds), strict=True))

    def _steps(
        self,
        decoder: ort.InferenceSession,
        shared: dict[str, NDArray[Any]],
        forced: NDArray[np.int64],
        output: str,
    ) -> NDArray[Any]:
        """The output of each step, ``[steps, rows, ...]``."""
        rows, longest = forced.shape
        states = [state for state in state_tensors(self._config) if state.kind != "constant"]
        carried: dict[str, NDArray[Any]] = {state.past: initial_value(state, rows, longest) for state in states}
        names = [output, *(str(state.present) for state in states)]
        outputs = []
        for position in range(longest):
            step = {"input_ids": forced[:, position], "positions": np.full(rows, position, np.int64)}
            found = run_graph(decoder.run, names, {**step, **shared, **carried})
            outputs.append(found[0])
            carried = {state.past: present for state, present in zip(states, found[1:], strict=True)}
        return np.stack(outputs)


class ForcedText:
    """A decoder-only model over running text."""

    def __init__(self, model: FloatModel) -> None:
        """Loads the fp32 graph."""
        self.model = model
        self._config = CausalLMConfig.from_dict(model.bundle.manifest.architecture)
        self._session = self._build(Variant(model, {}), "fp32")

    def logits(self, ids: Sequence[int], changes: Mapping[str, Tensor], precision: str) -> Logits:
        """Logits after each id; arguments as `ForcedTranslation.logits`'s."""
        session = self._build(Variant(self.model, changes), precision) if changes else self._session
        logits: Logits = self.run(session, ids, len(ids))[0]
        return logits

    def run(self, session: ort.InferenceSession, ids: Sequence[int], first: int) -> list[Logits]:
        """Logits of the first ``first`` ids, read together, then of each further one, read alone."""
        states = cache_tensors(self._config)
        carried: dict[str, NDArray[Any]] = {state.past: initial_value(state, 1, len(ids)) for state in states}
        names = ["logits", *(str(state.present) for state in states)]
        outputs = []
        for start, end in ((0, first), *((index, index + 1) for index in range(first, len(ids)))):
            feeds: dict[str, NDArray[Any]] = {
                "input_ids": np.array([ids[start:end]], np.int64),
                "past_lengths": np.full(1, start, np.int32),
                "sequence_lengths": np.full(1, end - start, np.int32),
                "added_queries": np.zeros(1, np.int64),
                "output_rows": np.arange(end - start),
            }
            found = run_graph(session.run, names, feeds | carried)
            outputs.append(found[0])
            carried = {state.past: present for state, present in zip(states, found[1:], strict=True)}
        return outputs

    def graph(self, variant: Variant, precision: str) -> ir.Model:
        """The graph as a bundle has it."""
        return build_causal_lm(self._config, variant.weights, variant.stored, precision)

    def _build(self, variant: Variant, precision: str) -> ort.InferenceSession:
        return variant.session(self.graph(variant, precision))


def weights_of(bundle: Bundle) -> dict[str, Tensor]:
    """All tensors of a bundle, by name, quantised where they are."""
    manifest = bundle.manifest
    shapes = {}
    if manifest.kind == "causal-lm":
        shapes = dict(weight_shapes(CausalLMConfig.from_dict(manifest.architecture)))
    return load_weights(bundle.path_of(WEIGHTS_FILE), manifest.quantization.tensors, shapes)


def changes_of(weights: Mapping[str, Tensor], model: FloatModel) -> dict[str, Tensor]:
    """What of a quantised bundle's weights is not what the float model has: to be given to `Variant`."""
    return {
        name: tensor
        for name, tensor in weights.items()
        if not isinstance(tensor, np.ndarray) or not np.array_equal(tensor, model.weights.get(name, np.empty(0)))
    }
