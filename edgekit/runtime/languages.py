"""Which token ids stand around a text and begin its translation, for the languages that a caller names.

Many-language models (M2M-100, NLLB, mBART) learn the language of a text from a token beside it, and the language to
translate into from the first token of the translation. All other models have the same ids around every text.

In: a manifest and language codes. Out: `Prompt`. Refused, in one line: codes that the model doesn't have, with the
closest that it has, and a many-language model without a target language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.bundle.generation import Generation
from edgekit.bundle.manifest import Manifest
from edgekit.errors import InputError

_SHOWN = 5


@dataclass(frozen=True)
class Prompt:
    """What a search needs beside a text's own ids.

    Attributes:
        before: ids before those of the text.
        after: ids behind them, EOS among them.
        start_ids: what the decoder begins with: its start token, then tokens that every translation begins with.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    start_ids: tuple[int, ...]

    def around(self, ids: Sequence[int]) -> list[int]:
        """A text's ids as the encoder takes them."""
        return [*self.before, *ids, *self.after]

    @property
    def length(self) -> int:
        """How many source ids are not the text's."""
        return len(self.before) + len(self.after)


def find_prompt(manifest: Manifest, source_language: str | None = None, target_language: str | None = None) -> Prompt:
    """The ids for a pair of languages; None for the model's own.

    Raises:
        InputError: the model doesn't have a language, or needs one that nobody names.
    """
    generation, tokens = manifest.generation, manifest.language_tokens
    assert isinstance(generation, Generation)
    before, after, start = generation.source_prefix, (generation.eos_token_id,), generation.start_ids
    if tokens is None:
        _check_fixed("source", source_language, manifest)
        _check_fixed("target", target_language, manifest)
        return Prompt(before, after, start)
    source = _find(tokens.ids, "source", source_language or manifest.languages.source)
    target = _find(tokens.ids, "target", target_language or manifest.languages.target)
    return Prompt(
        before=(source, *before) if tokens.source == "prefix" else before,
        after=(*after, source) if tokens.source == "suffix" else after,
        start_ids=(target,) if tokens.target == "start" else (generation.start_token_id, target),
    )


def _find(ids: Mapping[str, int], side: str, code: str | None) -> int:
    if code is None:
        some = ", ".join(list(ids)[:_SHOWN]) + ", ..." * (len(ids) > _SHOWN)
        raise InputError(f"this model has {len(ids)} languages: name the {side} language, one of {some}")
    if not isinstance(code, str) or code not in ids:
        close = _closest(str(code), ids)
        raise InputError(
            f"this model has no {side} language {code!r:.60}" + (f"; did you mean {close}?" if close else "")
        )
    return ids[code]


def _closest(code: str, ids: Mapping[str, int]) -> str:
    """Codes like ``code``: those that begin alike (``de``: ``de_DE``, ``deu_Latn``) first."""
    import difflib  # only for a mistake

    begin = [known for known in ids if code and known.casefold().startswith(code[:40].casefold())]
    alike = difflib.get_close_matches(code[:40], ids, n=3, cutoff=0.5)
    return ", ".join(list(dict.fromkeys([*begin, *alike]))[:_SHOWN])


def _check_fixed(side: str, code: str | None, manifest: Manifest) -> None:
    own = manifest.languages.source if side == "source" else manifest.languages.target
    if code is None or code == own:
        return
    knows = "its languages can't be chosen" if own is None else f"its {side} language is {own}"
    raise InputError(f"this model has no {side} language {code!r:.60}: {knows}")
