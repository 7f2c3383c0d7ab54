"""Tiny MarianMT checkpoints with random weights, saved by transformers itself.

Weights have the size of trained ones, biases and norms are not their neutral starting values, and the output bias makes
sentences end. The same arguments give the same model.
"""

import json
import math

import torch
from sentencepiece import sentencepiece_model_pb2
from transformers import GenerationConfig, MarianConfig, MarianMTModel

from tests.bergamot_fixture import sentencepiece_model

EOS = 0
SIZES = {
    "vocab_size": 131,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 64,
}


def make_marian(seed=0, eos_bias=2.0, **options):
    """A MarianMTModel for evaluation; ``options`` are MarianConfig's, the last id of a vocabulary is padding."""
    options = SIZES | options
    target_size = options.get("decoder_vocab_size") or options["vocab_size"]
    pad = min(options["vocab_size"], target_size) - 1
    config = MarianConfig(**options, pad_token_id=pad, decoder_start_token_id=pad, eos_token_id=EOS)
    model = MarianMTModel(config)
    if not config.share_encoder_decoder_embeddings:
        # A new model has vocab_size decoder embeddings, whatever decoder_vocab_size says.
        model.resize_decoder_token_embeddings(target_size)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                _randomize(name, parameter, generator)
        model.final_logits_bias.normal_(0, 0.5, generator=generator)
        model.final_logits_bias[:, EOS] = eos_bias
    return model.eval()


def _randomize(name, parameter, generator):
    parameter.normal_(0, 1, generator=generator)
    if "layer_norm" in name:
        parameter.mul_(0.1).add_(1.0 if name.endswith("weight") else 0.0)
    elif name.endswith("bias"):
        parameter.mul_(0.1)
    else:
        parameter.div_(math.sqrt(parameter.shape[1]))


def save_marian(model, directory, *, generation=None, safetensors=True):
    """Writes a repository as on the hub: configuration, weights, SentencePiece models, vocabularies.

    ``generation`` is what generation_config.json says besides the token ids; None leaves transformers' own.
    """
    if generation is not None:
        ids = {name: getattr(model.config, name) for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id")}
        model.generation_config = GenerationConfig(**ids, **generation)
    model.save_pretrained(directory, safe_serialization=safetensors)
    config, separate = model.config, not model.config.share_encoder_decoder_embeddings
    pieces = min(config.vocab_size, config.decoder_vocab_size) - 1
    spm = sentencepiece_model("en pt", pieces)
    for side in ("source", "target"):
        (directory / f"{side}.spm").write_bytes(spm)
    sizes = {"vocab.json": config.vocab_size}
    if separate:
        sizes["target_vocab.json"] = config.decoder_vocab_size
    names = [piece.piece for piece in sentencepiece_model_pb2.ModelProto.FromString(spm).pieces]
    for name, size in sizes.items():
        entries = [*names, "<pad>", *(f"unused{i}" for i in range(size - pieces - 1))]
        (directory / name).write_text(json.dumps({piece: i for i, piece in enumerate(entries)}), encoding="utf-8")
    return directory
