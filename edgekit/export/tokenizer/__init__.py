"""Tokenizers: SentencePiece models in, tokenizer.json out.

Reading order: `sentencepiece` (what a model file says, checked), `tokenizer_json` (how that is written), `build` (piece
index = id for Bergamot; ids from vocab.json for Marian).
"""

from edgekit.export.tokenizer.build import build_marian_tokenizers, build_tokenizer, vocab_size

__all__ = ["build_marian_tokenizers", "build_tokenizer", "vocab_size"]
