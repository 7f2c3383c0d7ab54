"""Tiny decoder-only checkpoints with random weights, saved by transformers itself, and a tokenizer of bytes.

Weights have the size of trained ones; biases and norms are not their neutral starting values. The same arguments give
the same model. Options are those of the architecture's configuration class.
"""

import json
import math

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    Qwen2Config,
    Qwen3Config,
)

from edgekit.export.read_causal_lm import read_causal_lm
from edgekit.export.sources.local_directory import read_directory

BOS, EOS, END_OF_TURN = "<|bos|>", "<|end|>", "<|turn|>"
VOCAB, CONTEXT = 300, 64
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 258,
    "eos_token_id": 259,
    "pad_token_id": None,
}
GPT2_SIZES = {
    "vocab_size": VOCAB,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": CONTEXT,
    "bos_token_id": 258,
    "eos_token_id": 259,
}
GEMMA3 = {"head_dim": 32, "query_pre_attn_scalar": 12, "sliding_window": 8, "sliding_window_pattern": 2}
CONFIGS = {
    "llama": (LlamaConfig, SIZES),
    "qwen2": (Qwen2Config, SIZES),
    "qwen3": (Qwen3Config, SIZES | {"head_dim": 32}),
    "gpt2": (GPT2Config, GPT2_SIZES),
    "gemma3_text": (Gemma3TextConfig, SIZES | GEMMA3),
}
CHAT_TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}<|turn|>{% endfor %}"


def make_model(model_type, **options):
    """A model of transformers for evaluation."""
    config_class, sizes = CONFIGS[model_type]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_class(**(sizes | options)), attn_implementation="eager")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            _randomize(name, parameter, generator)
    return model.eval()


def _randomize(name, parameter, generator):
    parameter.normal_(0, 1, generator=generator)
    if parameter.ndim == 1:
        parameter.mul_(0.1)
        if "norm" in name or "ln_" in name:
            parameter.add_(1.0 if name.endswith("weight") else 0.0)
    else:
        parameter.div_(math.sqrt(parameter.shape[1]))


def make_tokenizer(adds_bos=False):
    """GPT-2's kind of tokenizer: bytes, two merges, three control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: index for index, piece in enumerate([*alphabet, "th", "the"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("t", "h"), ("th", "e")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in (BOS, EOS, END_OF_TURN)])
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(f"{BOS} $A", f"{BOS} $A $B", [(BOS, 258)])
    return tokenizer


def save_checkpoint(directory, model, *, adds_bos=False, chat=True, max_shard_size="5GB", dtype=None):
    """Writes what the hub has: configuration, weights (sharded above a size), tokenizer, chat template."""
    model.to(dtype or torch.float32).save_pretrained(directory, max_shard_size=max_shard_size)
    make_tokenizer(adds_bos).save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": {"content": EOS}}
    if chat:
        config["chat_template"] = CHAT_TEMPLATE
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


def change(path, **options):
    """Sets some values of a JSON file, and removes those that are ``...``."""
    values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    values = {name: value for name, value in (values | options).items() if value is not ...}
    path.write_text(json.dumps(values), encoding="utf-8")


def read(directory):
    """The model of a repository."""
    return read_causal_lm(read_directory(directory, "tiny"))
