"""Tiny random decoder-only models of transformers, and their weights under edgekit's names."""

import dataclasses

import numpy as np
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from edgekit.graph.causal_lm_config import CausalLMConfig

VOCAB, CONTEXT = 97, 64


@dataclasses.dataclass(frozen=True)
class Case:
    """A model of transformers and the same for edgekit."""

    torch_model: torch.nn.Module
    config: CausalLMConfig
    weights: dict[str, np.ndarray]

    def logits(self, ids):
        """transformers' logits of one row of ids: ``[length, vocabulary]``."""
        with torch.no_grad():
            return self.torch_model(torch.tensor([list(ids)])).logits[0].numpy()


def make_llama(**options):
    sizes = {"num_key_value_heads": 2, "rope_theta": 500.0, "attention_bias": False} | options
    return _rotary(LlamaForCausalLM, LlamaConfig, "llama", sizes)


def make_qwen3(**options):
    sizes = {"num_key_value_heads": 2, "head_dim": 32} | options
    return _rotary(Qwen3ForCausalLM, Qwen3Config, "qwen3", sizes, query_key_norm=True)


def make_gemma3(**options):
    sizes = {
        "num_key_value_heads": 1,
        "head_dim": 32,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 20,
        "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_theta": 9000.0,
        "rope_local_base_freq": 100.0,
        "tie_word_embeddings": True,
    } | options
    case = _rotary(
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        "gemma3_text",
        sizes,
        query_key_norm=True,
        activation_function="gelu_tanh",
        post_norms=True,
        embed_scale=48**0.5,
        attention_scale=20**-0.5,
        local_layers=(0,),
        local_window=5,
        local_rope_theta=100.0,
    )
    weights = {name: array + 1 if "norm" in name else array for name, array in case.weights.items()}
    return dataclasses.replace(case, weights=weights)


def make_gpt2():
    torch.manual_seed(0)
    sizes = {"n_embd": 48, "n_layer": 2, "n_head": 3, "n_positions": CONTEXT, "vocab_size": VOCAB, "n_inner": 80}
    model = GPT2LMHeadModel(GPT2Config(**sizes)).eval()
    state = _randomised(model)
    renamed = {
        "transformer.wte.weight": "embedding.weight",
        "transformer.wpe.weight": "positions.weight",
        "transformer.ln_f": "final_norm",
    }
    for layer in range(2):
        theirs, ours = f"transformer.h.{layer}", f"layers.{layer}"
        renamed |= {
            f"{theirs}.ln_1": f"{ours}.attention.norm",
            f"{theirs}.attn.c_attn": f"{ours}.attention.qkv",
            f"{theirs}.attn.c_proj": f"{ours}.attention.output",
            f"{theirs}.ln_2": f"{ours}.feed_forward.norm",
            f"{theirs}.mlp.c_fc": f"{ours}.feed_forward.up",
            f"{theirs}.mlp.c_proj": f"{ours}.feed_forward.down",
        }
    weights = {}
    for theirs, ours in renamed.items():
        if theirs.endswith(".weight"):
            weights[ours] = state[theirs]
        else:
            weights |= {f"{ours}.{part}": state[f"{theirs}.{part}"] for part in ("weight", "bias")}
    config = _config("gpt2", gated_ffn=False, activation_function="gelu_tanh", norm="layer", norm_epsilon=1e-5)
    config = dataclasses.replace(
        config, position="learned", rope_theta=0.0, key_value_heads=3, tied_output=True, head_dim=16
    )
    return Case(model, config, weights)


def _rotary(model_class, config_class, model_type, options, **ours):
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16,
        "max_position_embeddings": CONTEXT, "vocab_size": VOCAB, "tie_word_embeddings": False,
    }  # fmt: skip
    theirs = config_class(**(sizes | options))
    model = model_class(theirs).eval()
    config = _config(
        model_type,
        d_model=theirs.hidden_size,
        ffn_dim=theirs.intermediate_size,
        attention_heads=theirs.num_attention_heads,
        key_value_heads=theirs.num_key_value_heads,
        head_dim=theirs.head_dim,
        rope_theta=theirs.rope_theta,
        rope_scaling=options.get("rope_scaling"),
        tied_output=theirs.tie_word_embeddings,
        norm_epsilon=theirs.rms_norm_eps,
        **ours,
    )
    return Case(model, config, _llama_weights(_randomised(model), config))


def _config(model_type, **ours):
    sizes = {
        "d_model": 48, "layers": 2, "attention_heads": 3, "key_value_heads": 3, "head_dim": 16, "ffn_dim": 80,
        "activation_function": "swish", "gated_ffn": True, "norm": "rms", "position": "rotary", "rope_theta": 10000.0,
        "rope_scaling": None, "rotary_interleaved": False, "vocab_size": VOCAB, "context_length": CONTEXT,
        "embed_scale": 1.0, "tied_output": False, "query_key_norm": False,
    }  # fmt: skip
    return CausalLMConfig(model_type=model_type, **(sizes | ours))


def _randomised(model):
    """The state after making every parameter matter: norms and biases of fresh models are ones and zeros."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.3 + (0 if "bias" in name else 1))
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def _llama_weights(state, config):
    weights = {"embedding.weight": state["model.embed_tokens.weight"], "final_norm.weight": state["model.norm.weight"]}
    if not config.tied_output:
        weights["output.weight"] = state["lm_head.weight"]
    for layer in range(config.layers):
        theirs, ours = f"model.layers.{layer}", f"layers.{layer}"
        attention, mlp = f"{theirs}.self_attn", f"{theirs}.mlp"
        norms = {"input_layernorm": "attention.norm", "post_attention_layernorm": "feed_forward.norm"}
        if config.post_norms:
            norms |= {
                "post_attention_layernorm": "attention.post_norm",
                "pre_feedforward_layernorm": "feed_forward.norm",
                "post_feedforward_layernorm": "feed_forward.post_norm",
            }
        weights |= {f"{ours}.{name}.weight": state[f"{theirs}.{norm}.weight"] for norm, name in norms.items()}
        if config.query_key_norm:
            for short, name in (("q", "query"), ("k", "key")):
                weights[f"{ours}.attention.{name}_norm.weight"] = state[f"{attention}.{short}_norm.weight"]
        joined = {
            "attention.qkv": [f"{attention}.{part}_proj" for part in "qkv"],
            "attention.output": [f"{attention}.o_proj"],
            "feed_forward.gate_up": [f"{mlp}.gate_proj", f"{mlp}.up_proj"],
            "feed_forward.down": [f"{mlp}.down_proj"],
        }
        for name, parts in joined.items():
            matrix = np.concatenate([state[f"{part}.weight"] for part in parts])
            weights[f"{ours}.{name}.weight"] = np.ascontiguousarray(matrix.T)
            if f"{parts[0]}.bias" in state:
                weights[f"{ours}.{name}.bias"] = np.concatenate([state[f"{part}.bias"] for part in parts])
    return weights
