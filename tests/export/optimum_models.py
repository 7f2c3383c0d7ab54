"""Tiny checkpoints of architectures that edgekit doesn't build, with random weights, and what optimum makes of them.

The same name gives the same model. Tokenizers are byte-level BPE, trained on two sentences.
"""

import functools
import shutil
import tempfile
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from edgekit.export.optimum import TASKS, export_with_optimum

MODELS, SEQ2SEQ = ("opt", "bloom", "gpt_neox", "phi", "blenderbot"), ("blenderbot",)
VOCABULARY = 300
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
POSITIONS = {"max_position_embeddings": 64}
SEQ2SEQ_SIZES = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_no_repeat_ngram_size": 0,
    **POSITIONS,
}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _config(name):
    if name == "opt":
        return transformers.OPTConfig(**SIZES, **POSITIONS, **IDS, ffn_dim=48, word_embed_proj_dim=32)
    if name == "bloom":
        return transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, **IDS)
    if name == "gpt_neox":
        return transformers.GPTNeoXConfig(**SIZES, **POSITIONS, **IDS, intermediate_size=48)
    if name == "phi":
        return transformers.PhiConfig(**SIZES, **POSITIONS, **IDS, intermediate_size=48)
    return transformers.BlenderbotConfig(**SEQ2SEQ_SIZES, **IDS, decoder_start_token_id=1, forced_eos_token_id=2)


@functools.cache
def checkpoint(name):
    """The directory of a checkpoint, and the model; neither is to be changed."""
    torch.manual_seed(5)
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-")) / f"tiny-{name}"
    auto = transformers.AutoModelForSeq2SeqLM if name in SEQ2SEQ else transformers.AutoModelForCausalLM
    model = auto.from_config(_config(name)).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(directory)
    _tokenizer(name in SEQ2SEQ).save(str(directory / "tokenizer.json"))
    (directory / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    return directory, model


def _tokenizer(is_seq2seq):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["The weather is fine today.", "The children are playing."] * 3, trainer)
    if is_seq2seq:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return tokenizer


@functools.cache
def exported(name):
    """A directory of optimum's graphs, with config.json and tokenizer.json; not to be changed."""
    source, _ = checkpoint(name)
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-")) / f"tiny-{name}-onnx"
    export_with_optimum(source, directory, TASKS[name in SEQ2SEQ])
    shutil.copyfile(source / "tokenizer.json", directory / "tokenizer.json")
    return directory
