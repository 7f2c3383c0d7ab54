"""How a byte-level BPE vocabulary in a GGUF file wants its text split into words: ``tokenizer.ggml.pre`` as data.

In: a name. Out: a `PreTokenizer`, in the terms of the `tokenizers` library. Refuses names it doesn't know: a wrong
split gives ids that the model has never seen, which no error would show.

Names and groups are those of llama.cpp (src/llama-vocab.cpp, llama_vocab::impl::load and llm_tokenizer_bpe); the
expressions those of the models' own tokenizer.json, which llama.cpp quotes and adapts to its engine.
"""

from dataclasses import dataclass

from tokenizers import Regex, normalizers, pre_tokenizers

from edgekit.errors import UnsupportedError

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = _WORDS.format(digits="{1,3}")
QWEN2 = _WORDS.format(digits="")
# llama.cpp's own fall-back, of no model's tokenizer.json.
DEFAULT = (
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
)


@dataclass(frozen=True)
class PreTokenizer:
    """What happens to text before byte-pair merges.

    Attributes:
        splits: Regular expressions that cut text, one after another; each match is a word of its own.
        individual_digits: Whether every digit is cut off first.
        gpt2_words: Whether GPT-2's own expression cuts last (`tokenizers`' ByteLevel has it built in).
        nfc: Whether text is normalised to NFC first.
        ignore_merges: Whether a word that the vocabulary has is taken whole, merges or not.
        adds_bos: Whether a text begins with BOS where the file doesn't say.
    """

    splits: tuple[str, ...] = ()
    individual_digits: bool = False
    gpt2_words: bool = False
    nfc: bool = False
    ignore_merges: bool = False
    adds_bos: bool = False

    def steps(self) -> pre_tokenizers.PreTokenizer:
        """As the `tokenizers` library runs it, bytes as printable characters at the end."""
        steps = [pre_tokenizers.Digits(individual_digits=True)] if self.individual_digits else []
        steps += [pre_tokenizers.Split(Regex(split), "isolated") for split in self.splits]
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=self.gpt2_words))
        return pre_tokenizers.Sequence(steps)

    def normalizer(self) -> normalizers.Normalizer | None:
        """What normalises text before; None for nothing."""
        return normalizers.NFC() if self.nfc else None


_GPT2 = PreTokenizer(gpt2_words=True)
_DIGITS = PreTokenizer(individual_digits=True, gpt2_words=True)
_LLAMA3 = PreTokenizer(splits=(LLAMA3,), ignore_merges=True, adds_bos=True)
_QWEN2 = PreTokenizer(splits=(QWEN2,), nfc=True)

PRE_TOKENIZERS = (
    dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion"), _GPT2)
    | dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), _DIGITS)
    | dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"), _LLAMA3)
    | dict.fromkeys(("dbrx", "smaug-bpe"), PreTokenizer(splits=(LLAMA3,)))
    | dict.fromkeys(("qwen2", "deepseek-r1-qwen"), _QWEN2)
    | {"default": PreTokenizer(splits=DEFAULT)}
)
# Files from before llama.cpp wrote ``pre`` (April 2024): all models of these architectures share one.
OF_ARCHITECTURE = {"gpt2": "gpt-2", "qwen2": "qwen2", "qwen3": "qwen2"}


def find_pre_tokenizer(name: str | None, architecture: str, file: str) -> PreTokenizer:
    """The pre-tokenizer of a vocabulary.

    Args:
        name: ``tokenizer.ggml.pre``; None where the file has none.
        architecture: ``general.architecture``, which decides for None.
        file: What messages call the file.

    Raises:
        UnsupportedError: A name that is not in `PRE_TOKENIZERS`.
    """
    name = OF_ARCHITECTURE.get(architecture, "default") if name is None else name
    if name not in PRE_TOKENIZERS:
        known = ", ".join(sorted(PRE_TOKENIZERS))
        raise UnsupportedError(f"{file}: expected tokenizer.ggml.pre to be one of {known}, found {name[:60]!r}")
    return PRE_TOKENIZERS[name]
