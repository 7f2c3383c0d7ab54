"""One translator made of two: from Portuguese to German by way of English.

In: two translators, of which the second takes what the first gives. Out: an object with a translator's methods for
texts. What has ids or scores is each translator's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Unpack, overload

from edgekit.bundle.manifest import Languages
from edgekit.errors import InputError
from edgekit.runtime import asynchronous
from edgekit.runtime.cancellation import Cancellation
from edgekit.runtime.memory import Memory
from edgekit.runtime.translation_options import TranslationOptions
from edgekit.runtime.translator import DEFAULT_WINDOW, Translator


class PivotTranslator:
    """Two translators, one behind the other; make one with `pivot`. Threads may share it.

    It can be used in a ``with`` statement, which closes both.

    Attributes:
        first: From the source language to the pivot.
        second: From there to the target language.
        languages: The first one's source language and the second one's target language.
    """

    def __init__(self, first: Translator, second: Translator) -> None:
        """Takes loaded translators; see `pivot`."""
        self.first, self.second = first, second
        self.languages = Languages(first.manifest.languages.source, second.manifest.languages.target)

    @overload
    def translate(self, text: str, **options: Unpack[TranslationOptions]) -> str: ...
    @overload
    def translate(self, text: list[str], **options: Unpack[TranslationOptions]) -> list[str]: ...

    def translate(self, text: str | list[str], **options: Unpack[TranslationOptions]) -> str | list[str]:
        """Translates one text or many, twice; arguments and errors as `Translator.translate`'s.

        ``timeout`` is for both together. ``source_language`` is the first one's, ``target_language`` the second's.
        """
        ending = Cancellation(options.get("timeout"), options.get("cancellation"))
        shared = TranslationOptions(**{**options, "timeout": None, "cancellation": ending})
        between = self.first.translate(text, **_without_target(shared))
        return self.second.translate(between, **_without_source(shared))

    def translate_iter(
        self, texts: Iterable[str], *, window: int = DEFAULT_WINDOW, **options: Unpack[TranslationOptions]
    ) -> Iterator[str]:
        """Translates texts as they come; see `Translator.translate_iter`."""
        between = self.first.translate_iter(texts, window=window, **_without_target(options))
        return self.second.translate_iter(between, window=window, **_without_source(options))

    async def atranslate(self, text: str | list[str], **options: Unpack[TranslationOptions]) -> str | list[str]:
        """`translate` in a thread; see `Translator.atranslate`."""
        found: str | list[str] = await asynchronous.call(self.translate, text, options)
        return found

    def atranslate_iter(
        self, texts: Iterable[str], *, window: int = DEFAULT_WINDOW, **options: Unpack[TranslationOptions]
    ) -> AsyncIterator[str]:
        """`translate_iter` in a thread; see `Translator.atranslate_iter`."""
        return asynchronous.iterate(self.translate_iter, texts, {**options, "window": window})

    def memory(self) -> Memory:
        """What both models take."""
        first, second = self.first.memory(), self.second.memory()
        known = first.sessions is not None and second.sessions is not None
        sessions = (first.sessions or 0) + (second.sessions or 0) if known else None
        return Memory(first.weights + second.weights, sessions, first.state + second.state)

    def close(self) -> None:
        """Closes both."""
        self.first.close()
        self.second.close()

    def __enter__(self) -> PivotTranslator:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def pivot(first: Translator, second: Translator) -> PivotTranslator:
    """One translator of two, the second behind the first.

    Args:
        first: As from Portuguese to English.
        second: As from English to German.

    Raises:
        InputError: One is no translator, or the second translates from another language than the first one's target.
    """
    for what, translator in (("first", first), ("second", second)):
        if not isinstance(translator, Translator):
            raise InputError(f"pivot takes translators, found {type(translator).__name__} as the {what}")
    target, source = first.manifest.languages.target, second.manifest.languages.source
    if target is not None and source is not None and target != source:
        raise InputError(
            f"pivot's second model must translate from {target}, which {first.manifest.name} translates into; "
            f"{second.manifest.name} translates from {source}"
        )
    return PivotTranslator(first, second)


def _without_target(options: TranslationOptions) -> TranslationOptions:
    return TranslationOptions(**{**options, "target_language": None})


def _without_source(options: TranslationOptions) -> TranslationOptions:
    return TranslationOptions(**{**options, "source_language": None})
