"""A GGUF file's metadata to a `CausalLMConfig`.

In: `GgufFile`. Out: the configuration, the same one that the Hugging Face checkpoint of the model gives. Refuses other
architectures by name, and everything that edgekit's graphs lack (experts, partial rotary positions, logit scales, other
rope scalings), all in one message.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; defaults of missing ones: llama.cpp,
src/llama-model.cpp, llama_model::load_hparams.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.architectures.decoder_options import LIMITS
from edgekit.export.sources.gguf_file import GgufFile
from edgekit.export.sources.gguf_tensors import read_gguf_tensor
from edgekit.graph.causal_lm_config import CausalLMConfig

# Llama 3.1's scaling, of which a file has the resulting factors only (convert_hf_to_gguf.py, generate_extra_tensors).
LLAMA3_SCALING = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
# Keys of other families that change the arithmetic.
UNKNOWN_ARITHMETIC = (
    "attention.scale",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attn_logit_softcapping",
    "embedding_scale",
    "expert_count",
    "final_logit_softcapping",
    "logit_scale",
    "residual_scale",
)
GEMMA3_PATTERN = 6  # every sixth layer is global
GEMMA3_27B_LAYERS = 62  # whose queries are scaled by d_model / heads (llama.cpp, LLM_TYPE_27B)

_ROTARY = {"gated_ffn": True, "norm": "rms", "position": "rotary", "embed_scale": 1.0}
_LLAMA = _ROTARY | {"activation_function": "swish", "query_key_norm": False}
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llama": _LLAMA | {"model_type": "llama"},
    "qwen2": _LLAMA | {"model_type": "qwen2"},
    "qwen3": _LLAMA | {"model_type": "qwen3", "query_key_norm": True},
    "gemma3": _ROTARY
    | {"model_type": "gemma3_text", "activation_function": "gelu_tanh", "query_key_norm": True, "post_norms": True},
    "gpt2": {
        "model_type": "gpt2",
        "activation_function": "gelu_tanh",
        "gated_ffn": False,
        "norm": "layer",
        "position": "learned",
        "embed_scale": 1.0,
        "query_key_norm": False,
    },
}


def read_architecture(file: GgufFile) -> str:
    """``general.architecture``, one of `FAMILIES`.

    Raises:
        SourceError: The file names none.
        UnsupportedError: Another one.
    """
    architecture = file.metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise SourceError(f"{file.path}: expected general.architecture, found none; is this a model?")
    if architecture not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UnsupportedError(
            f"{file.path}: expected an architecture of {known}, found {architecture[:60]!r}; edgekit doesn't build it"
        )
    return architecture


def read_gguf_config(file: GgufFile) -> CausalLMConfig:
    """The model's configuration.

    Raises:
        SourceError: Keys are missing or of another type, all in one message.
        UnsupportedError: Another architecture, or options that are not implemented, all in one message.
    """
    architecture = read_architecture(file)
    keys = _Keys(file, architecture)
    values = dict(FAMILIES[architecture]) | _sizes(keys)
    rotary = values["position"] == "rotary"
    values["rope_theta"] = keys.number("rope.freq_base", 10000.0) if rotary else 0.0
    if architecture == "gemma3":
        values |= _gemma3(keys, values)
    keys.check()
    values["rope_scaling"] = _rope_scaling(file, keys, values) if rotary else None
    _check_arithmetic(file, keys, values)
    try:
        return CausalLMConfig(**values, rotary_interleaved=False)
    except UnsupportedError as error:
        raise UnsupportedError(f"{file.path}: {error}") from None


class _Keys:
    """Reads the architecture's keys and remembers what is missing or of another type."""

    def __init__(self, file: GgufFile, architecture: str) -> None:
        self.tensors = file.tensors
        self._file, self._architecture = file, architecture
        self._problems: list[str] = []

    def get(self, key: str) -> Any:
        """The value, None where there is none."""
        return self._file.metadata.get(f"{self._architecture}.{key}")

    def size(self, key: str, default: int | None = None) -> int:
        """A whole number above 0; an array with one for each layer counts where all are the same."""
        value = self.get(key)
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and len(value) and (value == value[0]).all():
            value = int(value[0])
        value = default if value is None else value
        if type(value) is int and value > 0:
            return value
        self._note(key, value, "a whole number above 0")
        return 1

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number above 0. Files hold float32: the shortest decimal that gives it is what was meant."""
        value = self.get(key)
        value = default if value is None else value
        if isinstance(value, int | float) and 0 < value < math.inf:
            return float(str(np.float32(value)))
        self._note(key, value, "a number above 0")
        return 1.0

    def check(self) -> None:
        """Raises `SourceError` when anything was wrong."""
        if self._problems:
            raise SourceError(f"{self._file.path}: unusable metadata: {'; '.join(self._problems)}; is it damaged?")

    def _note(self, key: str, value: Any, expected: str) -> None:
        found = "missing" if value is None else f"{str(value)[:40]!r}, expected {expected}"
        self._problems.append(f"{self._architecture}.{key} is {found}")


def _sizes(keys: _Keys) -> dict[str, Any]:
    d_model, heads = keys.size("embedding_length"), keys.size("attention.head_count")
    table = keys.tensors.get("token_embd.weight")
    rms = keys.get("attention.layer_norm_rms_epsilon") is not None
    return {
        "d_model": d_model,
        "layers": keys.size("block_count"),
        "attention_heads": heads,
        "key_value_heads": keys.size("attention.head_count_kv", heads),
        "head_dim": keys.size("attention.key_length", max(1, d_model // heads)),
        "ffn_dim": keys.size("feed_forward_length"),
        "norm_epsilon": keys.number(f"attention.layer_norm_{'rms_' if rms else ''}epsilon"),
        "vocab_size": table.shape[0] if table else 1,
        "context_length": keys.size("context_length"),
        "tied_output": "output.weight" not in keys.tensors,
    }


def _gemma3(keys: _Keys, values: Mapping[str, Any]) -> dict[str, Any]:
    d_model, layers = values["d_model"], values["layers"]
    wide = layers == GEMMA3_27B_LAYERS
    pattern = keys.size("attention.sliding_window_pattern", GEMMA3_PATTERN)
    # A hostile number of layers must not become a list; the missing tensors are reported elsewhere.
    local_layers = tuple(layer for layer in range(min(layers, len(keys.tensors))) if (layer + 1) % pattern)
    return {
        "embed_scale": math.sqrt(d_model),
        "attention_scale": (d_model / values["attention_heads"] if wide else values["head_dim"]) ** -0.5,
        "local_layers": local_layers,
        "local_window": keys.size("attention.sliding_window") if local_layers else None,
        "local_rope_theta": keys.number("rope.freq_base_swa", 10000.0) if local_layers else None,
    }


def _rope_scaling(file: GgufFile, keys: _Keys, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The scaling as config.json would have it, for `edgekit.graph.rotary`."""
    kind, factor = keys.get("rope.scaling.type"), keys.get("rope.scaling.factor")
    if "rope_freqs.weight" in file.tensors:
        return _llama3_scaling(file, values)
    if kind is None:
        kind, factor = ("linear", keys.get("rope.scale_linear") if factor is None else factor)
    if kind == "none" or (kind == "linear" and factor in (None, 0, 1)):
        return None
    factor = keys.number("rope.scaling.factor", factor)
    if kind == "linear":
        scaling: dict[str, Any] = {"rope_type": "linear", "factor": factor}
    elif kind == "yarn":
        original = keys.size("rope.scaling.original_context_length", values["context_length"])
        scaling = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    else:
        raise UnsupportedError(f"{file.path}: expected rope.scaling.type linear or yarn, found {str(kind)[:60]!r}")
    keys.check()
    return scaling


def _llama3_scaling(file: GgufFile, values: Mapping[str, Any]) -> dict[str, Any]:
    """Llama 3's scaling, if ``rope_freqs.weight``, float32 ``[head_dim / 2]``, is what it gives."""
    stored = read_gguf_tensor(file, "rope_freqs.weight")
    found = stored if isinstance(stored, np.ndarray) else np.zeros(1)
    factor = float(found.max())
    scaling = {"rope_type": "llama3", "factor": factor, **LLAMA3_SCALING}
    low, high, original = LLAMA3_SCALING.values()
    turns = (
        original * values["rope_theta"] ** -(np.arange(0, values["head_dim"], 2) / values["head_dim"]) / (2 * math.pi)
    )
    kept = np.clip((turns - low) / (high - low), 0, 1)
    expected = 1 / ((1 - kept) / max(factor, 1) + kept)
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-4):
        raise UnsupportedError(
            f"{file.path}: rope_freqs.weight is not what Llama 3's rope scaling gives; no other is implemented"
        )
    return scaling


def _check_arithmetic(file: GgufFile, keys: _Keys, values: Mapping[str, Any]) -> None:
    head_dim = values["head_dim"]
    found = [f"{key}={keys.get(key)!r:.40}" for key in UNKNOWN_ARITHMETIC if keys.get(key)]
    widths = ("attention.value_length", *(("rope.dimension_count",) if values["position"] == "rotary" else ()))
    found += [
        f"{key}={keys.get(key)!r:.40} (expected {head_dim})" for key in widths if keys.get(key) not in (None, head_dim)
    ]
    found += [
        f"{name}={values[name]} (expected at most {most})" for name, most in LIMITS.items() if values[name] > most
    ]
    if found:
        raise UnsupportedError(f"{file.path}: not implemented: {', '.join(found)}")
