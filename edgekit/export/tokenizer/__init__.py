"""Tokenizers: SentencePiece models, GGUF vocabularies and Hugging Face's own files in, tokenizer.json out.

Reading order for translation: `sentencepiece` (what a model file says, checked), `tokenizer_json` (how that is
written), `build` (piece index = id for Bergamot; ids from vocab.json for Marian). For decoder-only models:
`hub_tokenizer`, `gguf_vocabulary`.
"""

from edgekit.export.tokenizer.build import build_marian_tokenizers, build_tokenizer, vocab_size

__all__ = ["build_marian_tokenizers", "build_tokenizer", "vocab_size"]
