"""Tiny encoder-decoder checkpoints with random weights, saved by transformers itself, with trained tiny vocabularies.

Weights have the size of trained ones; biases, norms and relative positions are not their neutral starting values. The
same arguments give the same model.
"""

import functools
import io
import json
import math
import shutil
import tempfile
from pathlib import Path

import sentencepiece
import tokenizers
import torch
import transformers
from transformers import GenerationConfig

from tests.export.tokenizer.spm_models import sentences

CLASSES = {
    "t5": (transformers.T5Config, transformers.T5ForConditionalGeneration),
    "mt5": (transformers.MT5Config, transformers.MT5ForConditionalGeneration),
    "bart": (transformers.BartConfig, transformers.BartForConditionalGeneration),
    "mbart": (transformers.MBartConfig, transformers.MBartForConditionalGeneration),
    "pegasus": (transformers.PegasusConfig, transformers.PegasusForConditionalGeneration),
    "m2m_100": (transformers.M2M100Config, transformers.M2M100ForConditionalGeneration),
}
PIECES = 300
# What each spm is trained with: the ids that transformers' tokenizer of this kind expects in it.
SPM_IDS = {
    "t5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "pegasus": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "fairseq": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1},
}
T5_SIZES = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
BART_SIZES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
}
IDS = {
    "t5": {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1},
    "mt5": {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1},
    "pegasus": {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1},
    "bart": {"decoder_start_token_id": 2, "pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0},
    "mbart": {"decoder_start_token_id": 2, "pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0},
    "m2m_100": {"decoder_start_token_id": 2, "pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0},
}


@functools.cache
def trained_spm(kind: str) -> bytes:
    """A SentencePiece model of `PIECES` pieces; the rarest characters are unknown to it."""
    out = io.BytesIO()
    texts = [text for language in ("en", "de") for text in sentences(language)[:300]]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=out,
        vocab_size=PIECES,
        character_coverage=0.99,
        num_threads=1,
        minloglevel=2,
        **SPM_IDS[kind],
    )
    return out.getvalue()


@functools.cache
def trained_bpe() -> dict[str, str]:
    """vocab.json and merges.txt of a byte-level BPE, with BART's special tokens where BART has them."""
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(sentences("en")[:300], vocab_size=400, special_tokens=special, show_progress=False)
    with tempfile.TemporaryDirectory() as directory:
        tokenizer.save_model(directory)
        return {name: (Path(directory) / name).read_text(encoding="utf-8") for name in ("vocab.json", "merges.txt")}


def write_tokenizer(model_type: str, directory: Path, variant: str = "") -> transformers.PreTrainedTokenizerBase:
    """Writes the slow tokenizer's files; ``variant``: nllb, mbart50. Returns that tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    if model_type in ("t5", "mt5"):
        (directory / "spiece.model").write_bytes(trained_spm("t5"))
        tokenizer = transformers.T5Tokenizer(str(directory / "spiece.model"), extra_ids=10 if model_type == "t5" else 0)
    elif model_type == "pegasus":
        (directory / "spiece.model").write_bytes(trained_spm("pegasus"))
        tokenizer = transformers.PegasusTokenizer(str(directory / "spiece.model"), offset=13)
    elif model_type == "bart":
        for name, text in trained_bpe().items():
            (directory / name).write_text(text, encoding="utf-8")
        tokenizer = transformers.BartTokenizer(str(directory / "vocab.json"), str(directory / "merges.txt"))
    else:
        spm = directory / "sentencepiece.bpe.model"
        spm.write_bytes(trained_spm("fairseq"))
        if variant == "nllb":
            tokenizer = transformers.NllbTokenizer(str(spm), src_lang="eng_Latn", tgt_lang="deu_Latn")
        elif variant == "mbart50":
            tokenizer = transformers.MBart50Tokenizer(str(spm), src_lang="en_XX", tgt_lang="de_DE")
        elif model_type == "mbart":
            tokenizer = transformers.MBartTokenizer(str(spm), src_lang="en_XX", tgt_lang="ro_RO")
        else:
            model = sentencepiece.SentencePieceProcessor(model_proto=trained_spm("fairseq"))
            pieces = [model.id_to_piece(index) for index in range(3, model.get_piece_size())]
            # Some pieces have no id of their own, as in the published vocabulary.
            vocab = ["<s>", "<pad>", "</s>", "<unk>", *pieces[:-5]]
            (directory / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocab)}))
            tokenizer = transformers.M2M100Tokenizer(
                str(directory / "vocab.json"), str(spm), src_lang="en", tgt_lang="de"
            )
    target = Path(tempfile.mkdtemp())
    tokenizer.save_pretrained(target)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(target / name, directory / name)
    shutil.rmtree(target)
    return tokenizer


def make_seq2seq(model_type, seed=0, vocab_size=700, **options):
    """A model for evaluation; ``options`` are its configuration class's."""
    config_class, model_class = CLASSES[model_type]
    sizes = T5_SIZES if model_type in ("t5", "mt5") else BART_SIZES
    config = config_class(
        **{**sizes, **IDS[model_type], "vocab_size": vocab_size, "forced_eos_token_id": None, **options}
    )
    model = model_class(config)
    generator = torch.Generator().manual_seed(seed)
    formula = model_type in ("pegasus", "m2m_100")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not (formula and "embed_positions" in name):
                _randomize(name, parameter, generator, config)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_(0, 0.5, generator=generator)
            model.final_logits_bias[:, config.eos_token_id] = 2.0
    return model.eval()


def _randomize(name, parameter, generator, config):
    parameter.normal_(0, 1, generator=generator)
    if "norm" in name:
        parameter.mul_(0.1).add_(1.0 if name.endswith("weight") else 0.0)
    elif name.endswith("bias"):
        parameter.mul_(0.1)
    elif "relative_attention_bias" in name or "embed_positions" in name:
        parameter.mul_(0.5)
    elif name.endswith("shared.weight"):
        is_t5 = hasattr(config, "d_kv")
        parameter.mul_(1.0 if is_t5 else 1 / math.sqrt(config.d_model))
    else:
        parameter.div_(math.sqrt(parameter.shape[1]))


def save_seq2seq(model, directory, *, generation=None, variant=""):
    """Writes a repository as on the hub; ``generation`` is what generation_config.json says besides the token ids."""
    ids = IDS[model.config.model_type]
    model.generation_config = GenerationConfig(**ids, **(generation or {}))
    model.save_pretrained(directory)
    write_tokenizer(model.config.model_type, directory, variant)
    return directory
