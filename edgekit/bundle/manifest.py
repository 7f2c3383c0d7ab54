"""The manifest of a bundle, ``bundle.json``, schema version 1: what all stages of edgekit agree on.

In: JSON text from a bundle that may come from a stranger. Out: frozen dataclasses whose fields are named like the JSON
keys. `Manifest.from_json` refuses, in one message, every wrong type, range, choice and file name, and everything that
does not fit together (`edgekit.bundle.consistency`); it opens no file.

Forward compatibility: a key that this version does not know is ignored, at any level. So a later edgekit may add what
an older one can do without (a measurement, a note) under the same schema version, and its bundles go on loading in
apps that embed the older one. Whatever changes how a bundle must be run raises ``schema_version``, which is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgekit.bundle.consistency import find_inconsistencies
from edgekit.bundle.fields import Fields, read_json_object, shown
from edgekit.bundle.generation import Chat as Chat
from edgekit.bundle.generation import Generation as Generation
from edgekit.bundle.generation import LanguageTokens as LanguageTokens
from edgekit.bundle.generation import TextGeneration as TextGeneration
from edgekit.bundle.generation import read_chat, read_generation, read_language_tokens, read_text_generation
from edgekit.cache import PRECISIONS
from edgekit.errors import BundleError

SCHEMA_VERSION = 1
KINDS = ("seq2seq", "causal-lm")
SOURCE_TYPES = ("embedded", "hub", "pypi", "registry", "local")
PORT_DTYPES = ("int64", "int32", "float32", "bool", "uint8", "int8")
QUANTIZED_DTYPES = ("int8", "uint8", "uint4")
GRANULARITIES = ("per-tensor", "per-channel", "per-block")
ACTIVATIONS = ("per-row", "per-block", "static", "float")
BLOCK_SIZES = (16, 256)
TOKENIZER_FORMS = ("sentencepiece", "tokenizers")
STATE_KINDS = ("constant", "recurrent", "appended")
INITIAL_VALUES = ("encoder", "zeros", "empty")
# Far above any model's, low enough that a hostile bundle cannot make a runtime allocate without end.
MAX_VOCAB_SIZE = 1 << 24

_MAX_PROBLEMS_SHOWN = 8


@dataclass(frozen=True)
class Languages:
    """Codes of the languages translated from and to; None where the model has none, or many and none of its own."""

    source: str | None
    target: str | None


@dataclass(frozen=True)
class Source:
    """Where the weights came from.

    ``type`` is one of `SOURCE_TYPES`; ``id`` names the checkpoint there; ``license`` is an SPDX identifier; ``files``
    maps each file that was read, by its name at the source, to its SHA-256.
    """

    type: str
    id: str
    revision: str | None
    license: str | None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TensorQuantization:
    """How one tensor of the weights is stored: its dtype, the name of its scale tensor and what one scale covers.

    A per-block tensor (``uint4`` or ``uint8``) has one scale for each ``block_size`` weights that meet one output, and
    may have ``zero_point`` and ``offset``, the names of tensors with one entry a block each:
    ``value = (q - zero_point) * scale + offset``, with a zero point in the middle (8 or 128) where there is none. An
    ``offset`` that is the tensor's own name is in blocks behind its values (`edgekit.graph.folded_offsets`).

    ``activations`` says how the product with the tensor takes its input: ``per-row`` or ``per-block`` (int8 with a
    scale found for each row, or block of it), ``static`` (int8 with the scale that the tensor ``activation_scale``
    holds), ``float``; None where there is no such product, and in bundles of an edgekit that didn't say.
    """

    dtype: str
    scale: str
    granularity: str
    block_size: int | None = None
    zero_point: str | None = None
    offset: str | None = None
    activations: str | None = None
    activation_scale: str | None = None


@dataclass(frozen=True)
class Quantization:
    """The scheme (one of `PRECISIONS`), how activations are quantised (None: they are not), every quantised tensor.

    The scheme is what products are calculated in. An fp32 bundle has quantised tensors too where its checkpoint shipped
    them so: they are dequantised when the model is loaded. ``source`` names the types in which a GGUF file's matrices
    were quantised, such as ``Q4_1, Q8_0``: fp32 then means what these stand for. None where they were floats.
    """

    scheme: str
    activations: str | None = None
    tensors: Mapping[str, TensorQuantization] = field(default_factory=dict)
    source: str | None = None


@dataclass(frozen=True)
class Port:
    """An input or output of a graph; ``shape`` holds sizes, and names of axes such as ``batch`` that vary."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    """An ONNX file of the bundle with its inputs and outputs in the graph's order."""

    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class StateTensor:
    """A tensor that the decoder (of a causal-lm: the model) carries from step to step.

    ``kind`` is ``constant`` (the encoder's output named ``past``, fed unchanged at every step), ``recurrent`` (fixed
    size, replaced at every step) or ``appended`` (a buffer: every step fills the entry at its position along
    ``growth_axis``; the buffer's length there is the caller's choice, up to ``capacity`` if there is one). ``past`` is
    an input of the decoder, ``present`` the output that becomes the next step's ``past``; those of an appended state
    may be the same memory.
    """

    name: str
    past: str
    present: str | None
    dtype: str
    shape: tuple[int | str, ...]
    kind: str
    batch_axis: int | None
    growth_axis: int | None
    capacity: int | None
    initial: str


@dataclass(frozen=True)
class TokenizerFiles:
    """The tokenizer files of both sides (the same name where one serves both) and their vocabulary sizes.

    A causal-lm has one, so source and target are the same. ``form`` says of a seq2seq's files who runs them:
    ``sentencepiece`` (edgekit itself, exactly as SentencePiece does) or ``tokenizers`` (the library).
    """

    source: str
    target: str
    source_vocab_size: int
    target_vocab_size: int
    form: str = "sentencepiece"


@dataclass(frozen=True)
class ShortlistFile:
    """A lexical shortlist, and how many of the most frequent target words are always candidates."""

    file: str
    first: int


@dataclass(frozen=True)
class SelfCheck:
    """A sentence recorded at export: source ids with EOS, and the target ids without EOS that must come out.

    Of a causal-lm: the ids of a prompt, and the ids with which greedy search goes on.
    """

    input_ids: tuple[int, ...]
    output_ids: tuple[int, ...]


@dataclass(frozen=True)
class FileRecord:
    """A file's size in bytes and its SHA-256 in lower-case hexadecimal digits."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All that a bundle says about itself; ``files`` is filled in when it is written.

    ``generation`` is a `Generation` where ``kind`` is seq2seq, a `TextGeneration` where it is causal-lm; ``chat`` is
    None for models without a chat template, ``language_tokens`` for those whose languages can't be chosen.
    """

    kind: str
    name: str
    precision: str
    architecture: Mapping[str, Any]
    languages: Languages
    task: str
    source: Source
    quantization: Quantization
    graphs: Mapping[str, Graph]
    state: tuple[StateTensor, ...]
    generation: Generation | TextGeneration
    tokenizer: TokenizerFiles
    shortlist: ShortlistFile | None
    self_check: SelfCheck
    measured: Mapping[str, Any] | None
    created_by: Mapping[str, str]
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    chat: Chat | None = None
    language_tokens: LanguageTokens | None = None
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Returns the text of ``bundle.json``: sorted keys, two spaces of indentation, one newline at the end."""
        return json.dumps(asdict(self), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> "Manifest":
        """Reads and checks the text of a ``bundle.json``.

        Args:
            text: The file's text.
            where: The file's path, for the error message.

        Raises:
            BundleError: The text is not JSON, is of another schema version, or holds anything that is wrong in itself
                or does not fit the rest; all problems are in the one line.
        """
        try:
            values = read_json_object(text)
        except ValueError as error:
            raise BundleError(f"{where}: {error}; export the model again") from None
        found = values.get("schema_version")
        if found != SCHEMA_VERSION or isinstance(found, bool):
            version = shown(found) if "schema_version" in values else "none"
            raise BundleError(
                f"{where}: this bundle has schema version {version}; this edgekit reads {SCHEMA_VERSION}; "
                "upgrade edgekit or export again"
            )
        problems: list[str] = []
        manifest = _read_manifest(Fields(values, "", problems))
        problems = problems or find_inconsistencies(manifest)
        if problems:
            more = len(problems) - _MAX_PROBLEMS_SHOWN
            listed = "; ".join(problems[:_MAX_PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else "")
            raise BundleError(f"{where}: {listed}; export the model again, or upgrade edgekit if the bundle is newer")
        return manifest


def _read_manifest(fields: Fields) -> Manifest:
    kind = fields.text("kind", KINDS)
    read = read_text_generation if kind == "causal-lm" else read_generation
    return Manifest(
        kind=kind,
        name=fields.text("name"),
        precision=fields.text("precision", PRECISIONS),
        architecture=fields.mapping("architecture"),
        languages=_read_languages(fields.object("languages")),
        task=fields.text("task"),
        source=_read_source(fields.object("source")),
        quantization=_read_quantization(fields.object("quantization")),
        graphs={name: _read_graph(graph) for name, graph in fields.named_objects("graphs")},
        state=tuple(_read_state(state) for state in fields.objects("state")),
        generation=read(fields.object("generation")),
        tokenizer=_read_tokenizer(fields.object("tokenizer")),
        shortlist=_read_shortlist(fields.object("shortlist")) if fields.has("shortlist") else None,
        self_check=_read_self_check(fields.object("self_check")),
        measured=fields.mapping("measured") if fields.has("measured") else None,
        created_by=fields.text_mapping("created_by"),
        files={name: _read_file(file) for name, file in fields.named_objects("files")},
        chat=read_chat(fields.object("chat")) if fields.has("chat") else None,
        language_tokens=(
            read_language_tokens(fields.object("language_tokens")) if fields.has("language_tokens") else None
        ),
    )


def _read_languages(fields: Fields) -> Languages:
    return Languages(fields.optional_text("source"), fields.optional_text("target"))


def _read_source(fields: Fields) -> Source:
    return Source(
        type=fields.text("type", SOURCE_TYPES),
        id=fields.text("id"),
        revision=fields.optional_text("revision"),
        license=fields.optional_text("license"),
        files=fields.text_mapping("files"),
    )


def _read_quantization(fields: Fields) -> Quantization:
    tensors = {
        name: TensorQuantization(
            dtype=tensor.text("dtype", QUANTIZED_DTYPES),
            scale=tensor.text("scale"),
            granularity=tensor.text("granularity", GRANULARITIES),
            block_size=tensor.optional_integer("block_size", *BLOCK_SIZES),
            zero_point=tensor.optional_text("zero_point"),
            offset=tensor.optional_text("offset"),
            activations=tensor.text("activations", ACTIVATIONS) if tensor.has("activations") else None,
            activation_scale=tensor.optional_text("activation_scale"),
        )
        for name, tensor in fields.named_objects("tensors")
    }
    return Quantization(
        fields.text("scheme", PRECISIONS), fields.optional_text("activations"), tensors, fields.optional_text("source")
    )


def _read_graph(fields: Fields) -> Graph:
    return Graph(
        file=fields.file_name("file"),
        inputs=tuple(_read_port(port) for port in fields.objects("inputs")),
        outputs=tuple(_read_port(port) for port in fields.objects("outputs")),
    )


def _read_port(fields: Fields) -> Port:
    return Port(fields.text("name"), fields.text("dtype", PORT_DTYPES), fields.shape("shape"))


def _read_state(fields: Fields) -> StateTensor:
    return StateTensor(
        name=fields.text("name"),
        past=fields.text("past"),
        present=fields.optional_text("present"),
        dtype=fields.text("dtype", PORT_DTYPES),
        shape=fields.shape("shape"),
        kind=fields.text("kind", STATE_KINDS),
        batch_axis=fields.optional_integer("batch_axis", 0, 7),
        growth_axis=fields.optional_integer("growth_axis", 0, 7),
        capacity=fields.optional_integer("capacity", 1),
        initial=fields.text("initial", INITIAL_VALUES),
    )


def _read_tokenizer(fields: Fields) -> TokenizerFiles:
    return TokenizerFiles(
        source=fields.file_name("source"),
        target=fields.file_name("target"),
        source_vocab_size=fields.integer("source_vocab_size", 1, MAX_VOCAB_SIZE),
        target_vocab_size=fields.integer("target_vocab_size", 1, MAX_VOCAB_SIZE),
        form=fields.text("form", TOKENIZER_FORMS) if fields.has("form") else TOKENIZER_FORMS[0],
    )


def _read_shortlist(fields: Fields) -> ShortlistFile:
    return ShortlistFile(fields.file_name("file"), fields.integer("first"))


def _read_self_check(fields: Fields) -> SelfCheck:
    return SelfCheck(fields.integers("input_ids"), fields.integers("output_ids"))


def _read_file(fields: Fields) -> FileRecord:
    return FileRecord(fields.integer("size_bytes"), fields.sha256("sha256"))
