"""Options that decoder-only checkpoints have in common: sizes, rotary positions, local attention, and refusals.

In: config.json and generation_config.json as dicts. Out: values for `CausalLMConfig`. Each architecture lists the
options of its own configuration class in transformers 4.57 that change the network, with the values implemented here;
an option that this class does not know changes nothing there, nor here. Refused: other values, all in one error.
How to sample (temperature, top_k, repetition_penalty, num_beams ...) is the caller's choice at run time, so what a
checkpoint recommends is left aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.errors import SourceError, UnsupportedError

Options = Mapping[str, Any]

# What a checkpoint calls the function -> ours.
ACTIVATIONS = {
    "silu": "swish",
    "swish": "swish",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
SWITCH = (True, False)
# Of PretrainedConfig, whatever the architecture.
COMMON_OPTIONS: dict[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "quantization_config": (None,),
    "pruned_heads": (None, {}),
    "tie_word_embeddings": SWITCH,
}
# Of GenerationConfig: what changes greedy search beyond a caller's choice, and the values that change nothing.
SEARCH_OPTIONS: dict[str, tuple[Any, ...]] = {
    "no_repeat_ngram_size": (0, None),
    "min_length": (0, None),
    "min_new_tokens": (0, None),
    "bad_words_ids": (None, []),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "sequence_bias": (None, {}, []),
    "guidance_scale": (None, 1),
    "constraints": (None, []),
    "force_words_ids": (None, []),
}
ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3")
LAYER_TYPES = ("full_attention", "sliding_attention")
# Layers are walked and tables of positions calculated before anything else would show that there is no such model.
LIMITS = {"layers": 1 << 10, "context_length": 1 << 20}


def check_options(options: Options, allowed: Mapping[str, tuple[Any, ...]], more: list[str]) -> None:
    """Raises `UnsupportedError` that names every option whose value is not implemented, and ``more`` such findings."""
    wrong = [
        f"{name}={options[name]!r:.120} (expected {' or '.join(map(repr, values))})"
        for name, values in {**COMMON_OPTIONS, **allowed}.items()
        if name in options and not any(options[name] == value for value in values)
    ]
    if wrong := wrong + more:
        raise UnsupportedError(f"unsupported {options['model_type']} options: {'; '.join(wrong)}")


def check_search_options(generation: Options) -> None:
    """Raises `UnsupportedError` that names every option of greedy search that edgekit does not follow."""
    wrong = [
        f"{name}={generation[name]!r:.120}"
        for name, values in SEARCH_OPTIONS.items()
        if name in generation and not any(generation[name] == value for value in values)
    ]
    if wrong:
        raise UnsupportedError(f"unsupported generation options: {'; '.join(wrong)}; remove them to go without")


def read_sizes(options: Options, names: Mapping[str, str], defaults: Mapping[str, int | None]) -> dict[str, Any]:
    """Sizes by our name.

    Args:
        options: config.json.
        names: Ours -> the checkpoint's.
        defaults: By our name; taken where the checkpoint has none or null.

    Raises:
        SourceError: Sizes are missing, no whole numbers above 0, or beyond any model's; all are named.
    """
    sizes = {}
    wrong = []
    for ours, theirs in names.items():
        value = options.get(theirs)
        value = defaults.get(ours) if value is None else value
        if type(value) is not int or not 0 < value < 1 << 31:
            wrong.append(f"{theirs}={value!r:.120}")
        elif value > LIMITS.get(ours, value):
            wrong.append(f"{theirs}={value} (expected at most {LIMITS[ours]})")
        else:
            sizes[ours] = value
    if wrong:
        raise SourceError(
            f"config.json: expected a whole number above 0 for each size, found {', '.join(wrong)}; "
            f"is this a {options['model_type']} checkpoint?"
        )
    return sizes


def read_number(options: Options, name: str, default: float) -> float:
    """A number above 0 that float32 can hold; raises `SourceError` for anything else."""
    value = options.get(name)
    value = default if value is None else value
    if type(value) not in (int, float) or not 1e-30 < value < 1e30:
        raise SourceError(f"config.json: expected a number above 0 for {name}, found {value!r:.120}")
    return float(value)


def rope_problems(options: Options, parameters: Any) -> list[str]:
    """What of a ``rope_scaling`` or ``rope_parameters`` is not implemented, in words."""
    if parameters is None:
        return []
    if not isinstance(parameters, dict):
        return [f"rope_scaling={parameters!r:.120} (expected an object or null)"]
    problems = []
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind not in ROPE_TYPES:
        problems.append(f"rope_type={kind!r:.120} (expected {' or '.join(map(repr, ROPE_TYPES))})")
    factor = parameters.get("partial_rotary_factor", options.get("partial_rotary_factor"))
    if factor not in (None, 1):
        problems.append(f"partial_rotary_factor={factor!r:.120} (expected 1)")
    return problems


def rope_parameters(options: Options) -> Any:
    """The options of rotary positions, as transformers 5 (``rope_parameters``) or 4 (``rope_scaling``) spells them."""
    return options.get("rope_parameters") or options.get("rope_scaling")


def read_rope(options: Options, parameters: Options | None, theta: float) -> tuple[float, dict[str, Any] | None]:
    """The base of the wavelengths, and the scaling if there is one.

    Args:
        options: config.json, where ``rope_theta`` is in transformers 4's spelling.
        parameters: What `rope_parameters` gave.
        theta: The architecture's default base.
    """
    scaling = dict(parameters or {})
    base = read_number(scaling if "rope_theta" in scaling else options, "rope_theta", theta)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    known = {name: value for name, value in scaling.items() if name not in ("rope_theta", "type", "rope_type")}
    return base, None if kind == "default" else {"rope_type": kind, **known}


def layer_type_problems(options: Options) -> list[str]:
    """What of ``layer_types`` is not implemented, in words."""
    kinds, layers = options.get("layer_types"), options.get("num_hidden_layers")
    if kinds is None:
        return []
    if not isinstance(kinds, list) or any(kind not in LAYER_TYPES for kind in kinds) or len(kinds) != layers:
        expected = f"a list of {layers} of {' and '.join(map(repr, LAYER_TYPES))}"
        return [f"layer_types={kinds!r:.120} (expected {expected})"]
    return []


def read_local_layers(options: Options, window: int | None, default: tuple[int, ...]) -> dict[str, Any]:
    """``local_layers`` and ``local_window``, from ``layer_types`` or else the architecture's own rule.

    Args:
        options: config.json, whose ``layer_types`` are those that `layer_type_problems` has nothing against.
        window: How many tokens a local layer sees; None for no local layers.
        default: The local layers where ``layer_types`` is absent.
    """
    kinds = options.get("layer_types")
    if kinds is not None:
        default = tuple(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")
    if window is None or not default:
        return {"local_layers": (), "local_window": None}
    return {"local_layers": default, "local_window": window}
