"""Checkpoints of T5-small's and NLLB-200-600M's shape with random weights, for `models.py` and `export/shapes.py`.

Sizes are those of the published config.json of ``google-t5/t5-small`` and ``facebook/nllb-200-distilled-600M``. The row
of EOS is zeros, which makes its logit 0, while the largest of the others is far above: every engine writes on to its
limit. The pieces are made up. Needs torch and transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

from edgekit.export.tokenizer import language_codes

T5_VOCABULARY = 32_128
NLLB_VOCABULARY = 256_206
NLLB_IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}


def t5_small(directory: Path) -> None:
    """60.5 M parameters: 6 + 6 layers of width 512, feed-forward 2048, 8 heads, a joint vocabulary of 32,128, tied."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=T5_VOCABULARY, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8, decoder_start_token_id=0
    )
    model = transformers.T5ForConditionalGeneration(config)
    _save(model, directory, {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1, "max_length": 512})
    sentinels = [f"<extra_id_{number}>" for number in range(100)]
    pieces = ["<pad>", "</s>", "<unk>", *_made_up(T5_VOCABULARY - 28 - 103), *reversed(sentinels)]
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = transformers.T5TokenizerFast(tokenizer_object=_unigram(pieces), **special, extra_ids=100)
    fast.save_pretrained(directory)


def nllb_600m(directory: Path) -> None:
    """615 M parameters: 12 + 12 layers of width 1024, feed-forward 4096, 16 heads, 256,206 pieces, tied."""
    torch.manual_seed(0)
    sizes = {f"{side}_layers": 12 for side in ("encoder", "decoder")}
    sizes |= {f"{side}_attention_heads": 16 for side in ("encoder", "decoder")}
    sizes |= {f"{side}_ffn_dim": 4096 for side in ("encoder", "decoder")}
    config = transformers.M2M100Config(
        vocab_size=NLLB_VOCABULARY,
        d_model=1024,
        max_position_embeddings=1024,
        activation_function="relu",
        scale_embedding=True,
        **sizes,
        **NLLB_IDS,
    )
    model = transformers.M2M100ForConditionalGeneration(config)
    languages = list(language_codes.NLLB)
    start = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*start, *_made_up(NLLB_VOCABULARY - 2 - len(start) - len(languages) - 1), *languages, "<mask>"]
    ids = {**NLLB_IDS, "forced_bos_token_id": pieces.index("deu_Latn"), "max_length": 200}
    _save(model, directory, ids)
    fast = transformers.NllbTokenizerFast(
        tokenizer_object=_unigram(pieces),
        src_lang="eng_Latn",
        tgt_lang="deu_Latn",
        additional_special_tokens=languages,
    )
    fast.save_pretrained(directory)


def _save(model: Any, directory: Path, generation: dict[str, int]) -> None:
    with torch.no_grad():
        model.get_input_embeddings().weight[generation["eos_token_id"]] = 0
    model.generation_config = transformers.GenerationConfig(**generation)
    model.save_pretrained(directory)


def _made_up(count: int) -> list[str]:
    return [f"▁piece{number}" for number in range(count)]


def _unigram(pieces: list[str]) -> tokenizers.Tokenizer:
    vocabulary = [(piece, -float(place)) for place, piece in enumerate(pieces)]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary, unk_id=pieces.index("<unk>")))
    tokenizer.pre_tokenizer, tokenizer.decoder = tokenizers.pre_tokenizers.Metaspace(), tokenizers.decoders.Metaspace()
    return tokenizer
