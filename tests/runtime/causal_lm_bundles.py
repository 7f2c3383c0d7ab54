"""Tiny decoder-only bundles with random weights, and tokenizers of each kind that models have."""

import dataclasses

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from edgekit.bundle.generation import Chat, TextGeneration
from edgekit.bundle.manifest import Languages, Manifest, SelfCheck, Source, TokenizerFiles
from edgekit.bundle.write import write_manifest
from edgekit.graph.causal_lm import write_causal_lm
from tests.graph.causal_lm_checkpoints import Case

CONTEXT = 160
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEXTS = [
    "The children are playing in the garden behind the old house, and their mother is reading a book.",
    "Die Kinder spielen im Garten. Größe, Straße, Äpfel, Öl und Übung!",
    "def encode(text):\n    return [tokens[word] for word in text.split()]\n",
    "Привет, мир! 早上好，世界。 صباح الخير 😀👩‍👩‍👧‍👦🏳️‍🌈 1234567890",
    "one two three four five six seven eight nine ten   \t\n\n  end",
]


def byte_level(vocabulary=320):
    """GPT-2's kind, as SmolLM2, Llama 3 and Qwen have it."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(CONTROL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def sentencepiece_bpe(vocabulary=600, legacy=False):
    """Llama 2's kind, as TinyLlama and Gemma have it: spaces are ▁, unknown characters are bytes."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[*special, *bytes_], limit_alphabet=60, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    # Byte pieces are ordinary entries of the vocabulary, which the trainer can't be told.
    data = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    trained = tokenizers.Tokenizer(data.model)
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        if getattr(tokenizer, part) is not None:
            setattr(trained, part, getattr(tokenizer, part))
    trained.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return trained


def unigram(vocabulary=300):
    """SentencePiece's Unigram with Metaspace on both sides."""
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


TOKENIZERS = {
    "byte-level": byte_level,
    "sentencepiece-bpe": sentencepiece_bpe,
    "sentencepiece-bpe-legacy": lambda: sentencepiece_bpe(legacy=True),
    "unigram": unigram,
}


def write_text_bundle(directory, case: Case, tokenizer, *, chat=CHATML, precision="fp32", weights=None, **generation):
    """Writes a bundle; ``generation`` overrides what `TextGeneration` has by default here."""
    directory.mkdir(parents=True, exist_ok=True)
    files = write_causal_lm(directory, case.config, weights or case.weights, precision)
    (directory / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    if chat is not None:
        (directory / "chat_template.jinja").write_text(chat, encoding="utf-8")
    settings = {"bos_token_id": None, "eos_token_ids": (0, 2), "pad_token_id": None, "adds_bos": False} | generation
    size = case.config.vocab_size
    write_manifest(
        directory,
        Manifest(
            kind="causal-lm",
            name="tiny",
            precision=precision,
            architecture=case.config.to_dict(),
            languages=Languages(None, None),
            task="text-generation",
            source=Source("local", "tiny", None, None),
            quantization=files.quantization,
            graphs=files.graphs,
            state=files.state,
            generation=TextGeneration(context_length=case.config.context_length, **settings),
            tokenizer=TokenizerFiles("tokenizer.json", "tokenizer.json", size, size),
            shortlist=None,
            self_check=SelfCheck((1, 2, 3), ()),
            measured=None,
            created_by={"edgekit": "test"},
            chat=None if chat is None else Chat("chat_template.jinja", {"eos_token": CONTROL[2]}),
        ),
    )
    return directory


def sized(case: Case, vocabulary, context=CONTEXT):
    """A case whose configuration says what sizes its model was made with."""
    config = dataclasses.replace(case.config, vocab_size=vocabulary, context_length=context)
    return dataclasses.replace(case, config=config)
