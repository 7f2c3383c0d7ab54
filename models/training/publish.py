"""A checkpoint of `models.training.train` as a transformers model: float16 safetensors, config and tokenizer.

    python -m models.training.publish STATE.pt OUT --data WORK

In: the averaged weights. Out: a folder that MarianMTModel or LlamaForCausalLM opens. The language model's chat template
turns a user's message into ``message<sep>``, so that a chat call translates.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from edgekit.export.tokenizer.sentencepiece import read_sentencepiece
from models.training.decoder_only import RMS_EPSILON, ROPE_BASE
from models.training.networks import MOST_POSITIONS, SEQ2SEQ, Sizes
from models.training.train import Options, build_network
from models.training.vocabulary import (
    EOS,
    EOS_ID,
    PAD,
    SEPARATOR,
    SPM_FILE,
    UNKNOWN,
    UNKNOWN_ID,
    VOCAB_FILE,
    Vocabulary,
)
from models.training.weights import EMBEDDING

CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}" + SEPARATOR

# ours -> theirs, the parts of a weight from top to bottom
_MARIAN = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.out_proj",),
    "attention_norm": ("self_attn_layer_norm",),
    "cross_query": ("encoder_attn.q_proj",),
    "cross_kv": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "cross_out": ("encoder_attn.out_proj",),
    "cross_norm": ("encoder_attn_layer_norm",),
    "up": ("fc1",),
    "down": ("fc2",),
    "inner_norm": ("final_layer_norm",),
}
_LLAMA = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "attention_norm": ("input_layernorm",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
    "inner_norm": ("post_attention_layernorm",),
}


def rename(weights: Mapping[str, Tensor], model: str) -> dict[str, Tensor]:
    """The state dict of the transformers model, without copies of tied weights."""
    names = _MARIAN if model == SEQ2SEQ else _LLAMA
    state = {}
    for name, value in weights.items():
        if name == EMBEDDING:
            state["model.shared.weight" if model == SEQ2SEQ else "model.embed_tokens.weight"] = value
        elif name == "norm.weight":
            state["model.norm.weight"] = value
        else:
            side, layer, part, kind = name.split(".")
            prefix = f"model.{side}.layers.{layer}" if model == SEQ2SEQ else f"model.layers.{layer}"
            for theirs, chunk in zip(names[part], value.chunk(len(names[part])), strict=True):
                state[f"{prefix}.{theirs}.{kind}"] = chunk
    if model == SEQ2SEQ:
        state["final_logits_bias"] = torch.zeros(1, len(weights[EMBEDDING]))
    return state


def model_config(model: str, sizes: Sizes, separator: int) -> dict[str, Any]:
    """config.json."""
    pad = sizes.vocabulary - 1
    shared = {"vocab_size": sizes.vocabulary, "eos_token_id": EOS_ID, "pad_token_id": pad, "torch_dtype": "float16"}
    if model != SEQ2SEQ:
        return shared | {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": sizes.width,
            "intermediate_size": sizes.inner,
            "num_hidden_layers": sizes.decoder_layers,
            "num_attention_heads": sizes.heads,
            "num_key_value_heads": sizes.heads,
            "head_dim": sizes.width // sizes.heads,
            "hidden_act": "silu",
            "rms_norm_eps": RMS_EPSILON,
            "rope_theta": ROPE_BASE,
            "max_position_embeddings": 2 * MOST_POSITIONS,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": separator,
        }
    return shared | {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "is_encoder_decoder": True,
        "d_model": sizes.width,
        "encoder_layers": sizes.encoder_layers,
        "decoder_layers": sizes.decoder_layers,
        "encoder_attention_heads": sizes.heads,
        "decoder_attention_heads": sizes.heads,
        "encoder_ffn_dim": sizes.inner,
        "decoder_ffn_dim": sizes.inner,
        "activation_function": "relu",
        "scale_embedding": True,
        "static_position_embeddings": True,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "decoder_start_token_id": pad,
        "decoder_vocab_size": sizes.vocabulary,
        "forced_eos_token_id": EOS_ID,
        "max_position_embeddings": MOST_POSITIONS,
    }


def generation_config(model: str, vocabulary: Vocabulary) -> dict[str, Any]:
    """generation_config.json: greedy.

    The seq2seq model is forbidden the pieces that stand for no text, as MarianMT's are. The language model has no such
    option in what reads it, nor needs one: neither piece was ever a target.
    """
    pad = vocabulary.pad
    shared = {"eos_token_id": EOS_ID, "pad_token_id": pad, "num_beams": 1, "do_sample": False}
    if model != SEQ2SEQ:
        return shared | {"bos_token_id": vocabulary.separator}
    forbidden = {"bad_words_ids": [[pad], [vocabulary.separator]], "max_length": MOST_POSITIONS}
    return shared | forbidden | {"decoder_start_token_id": pad, "forced_eos_token_id": EOS_ID}


def write_marian_tokenizer(data: Path, out: Path) -> None:
    """source.spm, target.spm, vocab.json and what MarianTokenizer reads beside them."""
    for name in ("source.spm", "target.spm"):
        shutil.copyfile(data / SPM_FILE, out / name)
    shutil.copyfile(data / VOCAB_FILE, out / VOCAB_FILE)
    options = {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": "en",
        "target_lang": "de",
        "eos_token": EOS,
        "unk_token": UNKNOWN,
        "pad_token": PAD,
        "model_max_length": MOST_POSITIONS,
        "separate_vocabs": False,
    }
    _write_json(out / "tokenizer_config.json", options)
    _write_json(out / "special_tokens_map.json", {"eos_token": EOS, "pad_token": PAD, "unk_token": UNKNOWN})


def write_llama_tokenizer(data: Path, out: Path) -> None:
    """tokenizer.json with the same ids, and tokenizer_config.json with the chat template."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    model = read_sentencepiece((data / SPM_FILE).read_bytes(), SPM_FILE)
    scores = {piece.text: piece.score for piece in model.pieces}
    ids: dict[str, int] = json.loads((data / VOCAB_FILE).read_text(encoding="utf-8"))
    pieces = [(piece, scores.get(piece, 0.0)) for piece in sorted(ids, key=ids.__getitem__)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=UNKNOWN_ID, byte_fallback=False))
    cleaned = [normalizers.Precompiled(model.precompiled_charsmap)] if model.precompiled_charsmap else []
    spaces = [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence([*cleaned, *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in (EOS, UNKNOWN, SEPARATOR, PAD)])
    tokenizer.save(str(out / "tokenizer.json"))
    options = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": EOS,
        "unk_token": UNKNOWN,
        "pad_token": PAD,
        "additional_special_tokens": [SEPARATOR],
        "model_max_length": 2 * MOST_POSITIONS,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    _write_json(out / "tokenizer_config.json", options)


def publish(state: Path, out: Path, data: Path) -> None:
    """Writes the model's folder."""
    content = torch.load(state, map_location="cpu", weights_only=True)
    options = Options(**content["options"] | {"sizes": Sizes(**content["options"]["sizes"])})
    vocabulary = Vocabulary(data)
    network = build_network(options, vocabulary, torch.device("cpu"))
    out.mkdir(parents=True, exist_ok=True)
    weights = rename(network.weights.named(content["average"]), options.model)
    tensors = {name: value.to(torch.float16).contiguous().clone() for name, value in weights.items()}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # safetensors makes files for their owner alone
    _write_json(out / "config.json", model_config(options.model, options.sizes, vocabulary.separator))
    _write_json(out / "generation_config.json", generation_config(options.model, vocabulary))
    (write_marian_tokenizer if options.model == SEQ2SEQ else write_llama_tokenizer)(data, out)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Command line; see the module's description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path, help="a checkpoint, state.pt")
    parser.add_argument("out", type=Path, help="the model's folder")
    parser.add_argument("--data", type=Path, required=True, help="what models.training.prepare wrote")
    arguments = parser.parse_args()
    publish(arguments.state, arguments.out, arguments.data)


if __name__ == "__main__":
    main()
