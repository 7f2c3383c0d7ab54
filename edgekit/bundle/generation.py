"""How a bundle's ids are generated: token ids and limits of greedy search (seq2seq), of text generation (causal-lm).

In: the ``generation`` and ``chat`` objects of a manifest. Out: frozen dataclasses. Whether the ids lie within the
vocabulary and the files exist is `edgekit.bundle.consistency`'s question.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.bundle.fields import Fields

# Far above any model's, low enough that a hostile bundle cannot make a runtime allocate or loop without end.
MAX_TOKENS = 1 << 20


@dataclass(frozen=True)
class Generation:
    """Token ids and limits of search; lengths in tokens, ``max_length_factor`` in target per source token.

    ``start_token_id`` may equal the target vocabulary's size: a row of zeros behind the embedding, for models whose
    decoder begins with a zero vector instead of a token. ``forces_eos`` says that EOS follows the last token that the
    limit allows, and counts for the length of a beam search's hypothesis. ``forced_first_token_id`` is what every
    target begins with, whatever the model says; ``source_prefix`` stands before the ids of every source text.
    ``min_length`` is how many tokens a target has before EOS may follow, a forced one counted; no n-gram of
    ``no_repeat_ngram_size`` ids comes twice in a target, its start token counted; 0 of either is no rule.
    """

    start_token_id: int
    eos_token_id: int
    pad_token_id: int | None
    unk_token_id: int | None
    max_source_tokens: int
    max_length: int
    max_length_factor: float
    forces_eos: bool = False
    forced_first_token_id: int | None = None
    source_prefix: tuple[int, ...] = ()
    min_length: int = 0
    no_repeat_ngram_size: int = 0

    @property
    def has_rules(self) -> bool:
        """Whether a search has to leave out what these settings forbid (`edgekit.runtime.search_rules`)."""
        return bool(self.min_length or self.no_repeat_ngram_size)

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What the decoder begins with: the start token, then the first target token where it is forced."""
        forced = () if self.forced_first_token_id is None else (self.forced_first_token_id,)
        return (self.start_token_id, *forced)


@dataclass(frozen=True)
class LanguageTokens:
    """The languages of a model that has many, and where their tokens stand.

    ``ids`` has the token of each language by its code. ``source`` is ``prefix`` (before a source's ids) or ``suffix``
    (behind its EOS); ``target`` is ``first`` (the first target token is forced to it) or ``start`` (the decoder begins
    with it instead of the start token).
    """

    ids: Mapping[str, int]
    source: str
    target: str


@dataclass(frozen=True)
class TextGeneration:
    """Token ids and limits of a decoder-only model.

    ``eos_token_ids`` all end a text (none: only a limit does); ``context_length`` is the most tokens of prompt and text
    together; ``adds_bos`` says that a prompt begins with ``bos_token_id``.
    """

    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    pad_token_id: int | None
    context_length: int
    adds_bos: bool


@dataclass(frozen=True)
class Chat:
    """A model's own chat template, a Jinja2 file, and the text of the special tokens that it may name."""

    template: str
    special_tokens: Mapping[str, str] = field(default_factory=dict)


def read_generation(fields: Fields) -> Generation:
    """Reads the ``generation`` of a seq2seq manifest."""
    return Generation(
        start_token_id=fields.integer("start_token_id"),
        eos_token_id=fields.integer("eos_token_id"),
        pad_token_id=fields.optional_integer("pad_token_id"),
        unk_token_id=fields.optional_integer("unk_token_id"),
        max_source_tokens=fields.integer("max_source_tokens", 1, MAX_TOKENS),
        max_length=fields.integer("max_length", 1, MAX_TOKENS),
        max_length_factor=fields.positive_number("max_length_factor"),
        forces_eos=fields.has("forces_eos") and fields.boolean("forces_eos"),
        forced_first_token_id=fields.optional_integer("forced_first_token_id"),
        source_prefix=fields.integers("source_prefix") if fields.has("source_prefix") else (),
        min_length=fields.integer("min_length", 0, MAX_TOKENS) if fields.has("min_length") else 0,
        no_repeat_ngram_size=(
            fields.integer("no_repeat_ngram_size", 0, MAX_TOKENS) if fields.has("no_repeat_ngram_size") else 0
        ),
    )


def read_language_tokens(fields: Fields) -> LanguageTokens:
    """Reads a manifest's ``language_tokens``."""
    return LanguageTokens(
        ids=fields.integer_mapping("ids"),
        source=fields.text("source", ("prefix", "suffix")),
        target=fields.text("target", ("first", "start")),
    )


def read_text_generation(fields: Fields) -> TextGeneration:
    """Reads the ``generation`` of a causal-lm manifest."""
    return TextGeneration(
        bos_token_id=fields.optional_integer("bos_token_id"),
        eos_token_ids=fields.integers("eos_token_ids"),
        pad_token_id=fields.optional_integer("pad_token_id"),
        context_length=fields.integer("context_length", 1, MAX_TOKENS),
        adds_bos=fields.boolean("adds_bos"),
    )


def read_chat(fields: Fields) -> Chat:
    """Reads a manifest's ``chat``."""
    return Chat(fields.file_name("template"), fields.text_mapping("special_tokens"))
