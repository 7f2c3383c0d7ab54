"""A GGUF file to a `CausalLMModel`: configuration, weights, tokenizer, special tokens and chat template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from edgekit.bundle.generation import TextGeneration
from edgekit.errors import SourceError
from edgekit.export.architectures.decoder_weights import map_decoder_weights
from edgekit.export.architectures.gguf_names import BIASES, GGUF_NAMES
from edgekit.export.gguf_config import read_architecture, read_gguf_config
from edgekit.export.model import CausalLMModel
from edgekit.export.sources.checkpoint import Checkpoint
from edgekit.export.sources.gguf_file import GgufFile, parse_gguf
from edgekit.export.sources.gguf_tensors import FLOATS, read_gguf_tensor
from edgekit.export.tokenizer.gguf_vocabulary import CONTROL, GgufVocabulary, read_gguf_vocabulary
from edgekit.export.tokenizer.hub_tokenizer import MAX_TEMPLATE_BYTES
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.tensors import BlockQuantizedTensor, Tensor

# A file names one end token, and chat models have several: those that end a text in llama.cpp (llama-vocab.cpp,
# special_eog_ids), which for Llama 3, Qwen 2.5 and Gemma 3 are those of generation_config.json.
END_TOKENS = frozenset(
    ("</s>", "<EOT>", "<end_of_turn>", "<eos>", "<|end_of_text|>", "<|end|>", "<|endoftext|>", "<|eom_id|>")
) | {"<|eot_id|>", "<|im_end|>"}
# What a chat template may name, and the key of its id.
SPECIAL_TOKENS = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
}
_END_KEYS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))


def read_gguf(checkpoint: Checkpoint) -> CausalLMModel:
    """Reads a GGUF file.

    Quantised matrices of Q8_0, Q4_0 and Q4_1 arrive as `BlockQuantizedTensor`, everything else as float32.

    Raises:
        UnsupportedError: An architecture, an option, a tensor type or a vocabulary that is not implemented.
        SourceError: The file is damaged, or its parts don't fit each other.
    """
    file = parse_gguf(checkpoint.files["weights"])
    architecture = read_architecture(file)
    config = read_gguf_config(file)
    vocabulary = read_gguf_vocabulary(file, architecture)
    if len(vocabulary.tokens) > config.vocab_size:
        raise SourceError(
            f"{file.path}: expected at most {config.vocab_size} tokens, the rows of token_embd.weight, "
            f"found {len(vocabulary.tokens)}; the file is damaged"
        )
    ids = _special_ids(file, len(vocabulary.tokens))
    kinds = {tensor.kind for tensor in file.tensors.values()} - set(FLOATS)
    return CausalLMModel(
        config=config,
        weights=_map_weights(file, config, architecture),
        generation=_generation(file, config, vocabulary, ids),
        tokenizer_json=vocabulary.tokenizer_json,
        vocab_size=config.vocab_size,
        chat_template=_chat_template(file),
        special_tokens={name: vocabulary.tokens[ids[key]] for name, key in SPECIAL_TOKENS.items() if key in ids},
        source_quantization=", ".join(sorted(kinds)) or None,
    )


class GgufWeights(Mapping[str, Tensor]):
    """A file's tensors, read one at a time when they are asked for, llama's queries and keys in Hugging Face order.

    llama.cpp rotates neighbouring values where Hugging Face rotates a head's two halves, so its converter moves the
    rows of ``llama``'s queries and keys: row ``2i + j`` of a head was row ``j * head_dim / 2 + i``
    (convert_hf_to_gguf.py, LlamaModel.permute). A row of blocks belongs to one output, so blocks are never split.
    """

    def __init__(self, file: GgufFile, config: CausalLMConfig, permuted: bool) -> None:
        """`permuted`: whether this architecture's converter moves rows."""
        self._file, self._head_dim = file, config.head_dim
        self._moved = re.compile(r"blk\.\d+\.attn_[qk]\.(weight|bias)") if permuted else None

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._file.tensors:
            raise KeyError(name)
        tensor = read_gguf_tensor(self._file, name)
        if self._moved is None or not self._moved.fullmatch(name) or tensor.shape[0] % self._head_dim:
            return tensor
        rows = np.arange(tensor.shape[0]).reshape(-1, self._head_dim // 2, 2).swapaxes(1, 2).reshape(-1)
        if isinstance(tensor, BlockQuantizedTensor):
            return tensor.rows(rows)
        assert isinstance(tensor, np.ndarray)
        return tensor[rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.tensors)

    def __len__(self) -> int:
        return len(self._file.tensors)


def _map_weights(file: GgufFile, config: CausalLMConfig, architecture: str) -> Mapping[str, Tensor]:
    tensors = GgufWeights(file, config, architecture == "llama")
    try:
        return map_decoder_weights(config, GGUF_NAMES[architecture], tensors, BIASES.get(architecture))
    except SourceError as error:
        message = str(error)
        raise SourceError(message if message.startswith(f"{file.path}: ") else f"{file.path}: {message}") from None


def _chat_template(file: GgufFile) -> str | None:
    """The model's own template; of several, the one without a name."""
    template = file.metadata.get("tokenizer.chat_template")
    if template is not None and (not isinstance(template, str) or len(template) > MAX_TEMPLATE_BYTES):
        found = f"one of {len(template)}" if isinstance(template, str) else "something else"
        raise SourceError(
            f"{file.path}: expected tokenizer.chat_template to be a text of at most {MAX_TEMPLATE_BYTES} characters, "
            f"found {found}; the file is damaged"
        )
    return template or None


def _special_ids(file: GgufFile, size: int) -> dict[str, int]:
    """Ids that the file names, by key; one of padding outside the vocabulary, which some files name, is none."""
    ids: dict[str, int] = {}
    wrong = []
    for key in (*SPECIAL_TOKENS.values(), *_END_KEYS):
        index = file.metadata.get(key)
        if type(index) is int and 0 <= index < size:
            ids[key] = index
        elif index is not None and (key != SPECIAL_TOKENS["pad_token"] or type(index) is not int):
            wrong.append(f"{key}={str(index)[:40]}")
    if wrong:
        raise SourceError(f"{file.path}: expected ids below {size}, found {', '.join(wrong)}; the file is damaged")
    return ids


def _generation(
    file: GgufFile, config: CausalLMConfig, vocabulary: GgufVocabulary, ids: Mapping[str, int]
) -> TextGeneration:
    named = {ids[key] for key in _END_KEYS if key in ids}
    known = {
        index
        for index, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.kinds, strict=True))
        if kind == CONTROL and token in END_TOKENS
    }
    bos = ids.get(SPECIAL_TOKENS["bos_token"])
    adds_bos = file.metadata.get("tokenizer.ggml.add_bos_token", vocabulary.adds_bos)
    return TextGeneration(
        bos_token_id=bos,
        eos_token_ids=tuple(sorted(named | known)),
        pad_token_id=ids.get(SPECIAL_TOKENS["pad_token"]),
        context_length=config.context_length,
        adds_bos=adds_bos is True and bos is not None,
    )
