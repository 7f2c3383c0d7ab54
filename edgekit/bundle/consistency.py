"""Whether the parts of a manifest fit together: graphs, state tensors, token ids and the list of files.

In: a manifest whose fields each have the right type. Out: every contradiction in words; none means that a runtime can
follow the manifest blindly. It opens no file: what is on the disk is checked by `edgekit.bundle.read`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from edgekit.bundle.fields import shown
from edgekit.bundle.files import file_name_problem
from edgekit.bundle.generation import TextGeneration

if TYPE_CHECKING:
    from edgekit.bundle.manifest import Manifest, Port, StateTensor

GRAPH_NAMES = {"seq2seq": ("encoder", "decoder"), "causal-lm": ("model",)}
# Graphs that a bundle may do without, and then lacks what they are for.
OPTIONAL_GRAPHS = {"seq2seq": {"beam_decoder"}, "causal-lm": set[str]()}
SCHEMES = {"seq2seq": ("fp32", "int8"), "causal-lm": ("fp32", "int8", "int4")}

# A sentence that is run at the first load; an export's has less than 64.
MAX_SELF_CHECK_IDS = 1024


def find_inconsistencies(manifest: "Manifest") -> list[str]:
    """Returns what does not fit together in a manifest, one entry a contradiction."""
    expected = GRAPH_NAMES[manifest.kind]
    if manifest.graphs.keys() - OPTIONAL_GRAPHS[manifest.kind] != set(expected):
        found = ", ".join(shown(name) for name in list(manifest.graphs)[:4]) or "none"
        return [f"graphs: expected {' and '.join(expected)}, found {found}"]
    return [
        *_graph_problems(manifest),
        *_state_problems(manifest),
        *_file_problems(manifest),
        *_token_problems(manifest),
        *_kind_only_problems(manifest),
        *_quantization_problems(manifest),
    ]


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _graph_problems(manifest: "Manifest") -> Iterator[str]:
    for graph_name, graph in manifest.graphs.items():
        for side, ports in (("inputs", graph.inputs), ("outputs", graph.outputs)):
            if not ports:
                yield f"graphs.{graph_name}.{side}: expected at least one, found none"
            for name in _repeated(port.name for port in ports):
                yield f"graphs.{graph_name}.{side}: expected each name once, found {shown(name)} twice"


def _state_problems(manifest: "Manifest") -> Iterator[str]:
    for key in ("name", "past", "present"):
        for name in _repeated(getattr(state, key) for state in manifest.state if getattr(state, key) is not None):
            yield f"state: expected each {key} once, found {shown(name)} twice"
    carrier = GRAPH_NAMES[manifest.kind][-1]
    ports = {
        f"{name} {side}": {port.name: port for port in sided}
        for name, graph in manifest.graphs.items()
        for side, sided in (("input", graph.inputs), ("output", graph.outputs))
    }
    for index, state in enumerate(manifest.state):
        for problem in (*_port_problems(state, carrier, ports), *_kind_problems(state)):
            yield f"state[{index}]: {problem}"


def _port_problems(state: "StateTensor", carrier: str, ports: Mapping[str, Mapping[str, "Port"]]) -> Iterator[str]:
    """``carrier`` is the graph that takes the state and gives it back."""
    wanted = [(f"{carrier} input", state.past)]
    if state.present is not None:
        wanted.append((f"{carrier} output", state.present))
    if state.initial == "encoder":
        if "encoder output" in ports:
            wanted.append(("encoder output", state.past))
        else:
            yield "expected another initial than encoder in a bundle without an encoder"
    for what, name in wanted:
        port = ports[what].get(name)
        if port is None:
            yield f"expected {shown(name)} among the {what}s, found none"
        elif port.dtype != state.dtype or len(port.shape) != len(state.shape):
            yield (
                f"expected the {what} {shown(name)} to be {state.dtype} with {len(state.shape)} axes, "
                f"found {port.dtype} with {len(port.shape)}"
            )


def _kind_problems(state: "StateTensor") -> Iterator[str]:
    if state.kind == "constant" and (state.present is not None or state.initial != "encoder"):
        yield "expected a constant state to come from the encoder and to have no present"
    if state.kind != "constant" and state.present is None:
        yield f"expected a present for the {state.kind} state, found null"
    if (state.kind == "appended") != (state.growth_axis is not None):
        yield f"expected a growth_axis for an appended state only, found kind {state.kind}"
    if (state.kind == "appended") != (state.initial == "empty"):
        yield f"expected initial empty for an appended state only, found kind {state.kind} and initial {state.initial}"
    for key, axis in (("batch_axis", state.batch_axis), ("growth_axis", state.growth_axis)):
        if axis is not None and axis >= len(state.shape):
            yield f"expected a {key} below the {len(state.shape)} axes of its shape, found {axis}"
    if state.batch_axis is not None and state.batch_axis == state.growth_axis:
        yield f"expected different batch_axis and growth_axis, found {state.batch_axis} twice"


def _file_problems(manifest: "Manifest") -> Iterator[str]:
    for name in manifest.files:
        if problem := file_name_problem(name):
            yield f"files: expected plain file names, found {shown(name)} ({problem})"
    # Where case is ignored (Windows, macOS) two such names are one file.
    for name in _repeated(name.casefold() for name in manifest.files):
        yield f"files: expected names that differ by more than case, found {shown(name)} twice"
    referenced = {f"graphs.{name}.file": graph.file for name, graph in manifest.graphs.items()}
    referenced |= {"tokenizer.source": manifest.tokenizer.source, "tokenizer.target": manifest.tokenizer.target}
    if manifest.shortlist is not None:
        referenced["shortlist.file"] = manifest.shortlist.file
    if manifest.chat is not None:
        referenced["chat.template"] = manifest.chat.template
    for key, name in referenced.items():
        if name not in manifest.files:
            yield f"{key}: expected a file that files lists, found {shown(name)}"
        # onnxruntime reads other endings as other formats, which nothing here has looked into.
        if key.startswith("graphs.") and not name.endswith(".onnx"):
            yield f"{key}: expected a name that ends in .onnx, found {shown(name)}"


def _token_problems(manifest: "Manifest") -> Iterator[str]:
    source_size, target_size = manifest.tokenizer.source_vocab_size, manifest.tokenizer.target_vocab_size
    generation = manifest.generation
    ids: dict[str, tuple[int | None, int]] = {
        "self_check.input_ids": (max(manifest.self_check.input_ids, default=None), source_size),
        "self_check.output_ids": (max(manifest.self_check.output_ids, default=None), target_size),
        "generation.pad_token_id": (generation.pad_token_id, max(source_size, target_size)),
    }
    if isinstance(generation, TextGeneration):
        ids["generation.bos_token_id"] = (generation.bos_token_id, target_size)
        ids["generation.eos_token_ids"] = (max(generation.eos_token_ids, default=None), target_size)
    else:
        ids["generation.start_token_id"] = (generation.start_token_id, target_size + 1)
        ids["generation.eos_token_id"] = (generation.eos_token_id, target_size)
        ids["generation.unk_token_id"] = (generation.unk_token_id, max(source_size, target_size))
        ids["generation.forced_first_token_id"] = (generation.forced_first_token_id, target_size)
        ids["generation.source_prefix"] = (max(generation.source_prefix, default=None), source_size)
    if manifest.language_tokens is not None:
        # A language is a token of both sides.
        ids["language_tokens.ids"] = (max(manifest.language_tokens.ids.values()), min(source_size, target_size))
    for key, (token_id, vocab_size) in ids.items():
        if token_id is not None and token_id >= vocab_size:
            yield f"{key}: expected ids below {vocab_size} (from the vocabulary's size), found {token_id}"
    for key, recorded in asdict(manifest.self_check).items():
        if len(recorded) > MAX_SELF_CHECK_IDS:
            yield f"self_check.{key}: expected at most {MAX_SELF_CHECK_IDS} ids, found {len(recorded)}"
    if manifest.shortlist is not None and manifest.shortlist.first > target_size:
        yield f"shortlist.first: expected at most {target_size} target tokens, found {manifest.shortlist.first}"


def _kind_only_problems(manifest: "Manifest") -> Iterator[str]:
    """What one kind of bundle has and the other cannot have."""
    if manifest.kind == "seq2seq":
        if manifest.chat is not None:
            yield "chat: expected null in a seq2seq bundle, found an object"
        return
    tokenizer, generation = manifest.tokenizer, manifest.generation
    if (tokenizer.source, tokenizer.source_vocab_size) != (tokenizer.target, tokenizer.target_vocab_size):
        yield "tokenizer: expected the same source and target in a causal-lm bundle, found different ones"
    if manifest.shortlist is not None:
        yield "shortlist: expected null in a causal-lm bundle, found an object"
    if manifest.language_tokens is not None:
        yield "language_tokens: expected null in a causal-lm bundle, found an object"
    if isinstance(generation, TextGeneration) and generation.adds_bos and generation.bos_token_id is None:
        yield "generation.bos_token_id: expected an id where adds_bos is true, found null"
    if not manifest.self_check.input_ids:
        yield "self_check.input_ids: expected at least one id in a causal-lm bundle, found none"


def _quantization_problems(manifest: "Manifest") -> Iterator[str]:
    quantization = manifest.quantization
    schemes = SCHEMES[manifest.kind]
    if quantization.scheme not in schemes:
        expected = " or ".join(schemes)
        yield f"quantization.scheme: expected {expected} in a {manifest.kind} bundle, found {quantization.scheme}"
    for name, tensor in quantization.tensors.items():
        in_blocks = tensor.granularity == "per-block"
        if in_blocks != (tensor.block_size is not None):
            yield (
                f"quantization.tensors.{shown(name)}: expected a block_size where granularity is per-block only, "
                f"found {tensor.granularity} and {tensor.block_size}"
            )
        if not in_blocks and (tensor.dtype == "uint4" or tensor.zero_point or tensor.offset):
            yield (
                f"quantization.tensors.{shown(name)}: expected uint4, zero_point and offset where granularity is "
                f"per-block only, found {tensor.granularity}"
            )
        if (tensor.activations == "static") != (tensor.activation_scale is not None):
            yield (
                f"quantization.tensors.{shown(name)}: expected an activation_scale where activations are static only, "
                f"found {tensor.activations} and {shown(tensor.activation_scale)}"
            )
    if quantization.scheme != manifest.precision:
        yield f"quantization.scheme: expected {manifest.precision} like precision, found {quantization.scheme}"
