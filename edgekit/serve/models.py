"""The models that a server serves, by name and by language pair.

In: bundles. Out: loaded models, each named ``<name>-<precision>`` as its bundle's directory is by default. Two bundles
of one pair are served beside each other; the first is meant where a request names none. Where no model translates a
pair, two may, one behind the other: a route is of one model or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.bundle.generation import TextGeneration
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.read import open_bundle
from edgekit.errors import InputError
from edgekit.runtime import Translator
from edgekit.runtime.chat_template import ChatTemplate
from edgekit.runtime.text_generator import TextGenerator
from edgekit.serve.request_error import RequestError


@dataclass(frozen=True)
class ServedTranslator:
    """A translation model: its name, its languages' codes, its precision, and what runs it."""

    name: str
    source: str
    target: str
    precision: str
    translator: Translator


Route = tuple[ServedTranslator, ...]


@dataclass(frozen=True)
class ServedGenerator:
    """A language model: its name, its precision, what runs it, and its chat template if it has one."""

    name: str
    precision: str
    generator: TextGenerator
    chat: ChatTemplate | None


class Models:
    """All models of a server.

    Attributes:
        translators: The translation models, in the order in which they were given.
        generators: The language models, likewise.
    """

    def __init__(self, served: Sequence[ServedTranslator | ServedGenerator]) -> None:
        """Takes loaded models.

        Raises:
            InputError: None at all, or two of one name.
        """
        if not served:
            raise InputError("a server needs at least one bundle, found none")
        for model in served:
            if sum(other.name == model.name for other in served) > 1:
                raise InputError(f"two bundles are both called {model.name}; serve one of them")
        self.translators = [model for model in served if isinstance(model, ServedTranslator)]
        self.generators = [model for model in served if isinstance(model, ServedGenerator)]

    @classmethod
    def load(cls, paths: Sequence[Path], threads: int | None = None) -> Models:
        """Loads bundles.

        Args:
            paths: Their directories.
            threads: Threads that one call of a model may use; None for the measured default, 1.

        Raises:
            EdgekitError: A bundle is damaged, names no languages to translate between, or two have one name.
        """
        return cls([_load(path, threads) for path in paths])

    def find_route(self, source: str, target: str, name: str | None) -> Route:
        """The model of a pair, or the two one behind the other: of that name, or the first.

        Raises:
            RequestError: 400, a language is unknown, or no model translates between them or is called so.
        """
        if source == "auto":
            raise RequestError(
                400, f"this server does not detect languages; give source, one of {', '.join(self.sources)}"
            )
        of_pair = self.routes(source, target)
        if not of_pair:
            pairs = ", ".join(f"{one} to {other}" for one, targets in self.languages.items() for other in targets)
            found = f"{source[:20]!a} to {target[:20]!a}"
            raise RequestError(400, f"source and target must be languages of one of {pairs or 'no pairs'}, not {found}")
        named = [route for route in of_pair if name is None or route_name(route) == name]
        if not named:
            names = ", ".join(map(route_name, of_pair))
            raise RequestError(400, f"model must be one of {names} for {source} to {target}")
        return named[0]

    def routes(self, source: str, target: str) -> list[Route]:
        """All models of a pair, in order of the bundles; where there is none, two by way of one other language."""
        direct: list[Route] = [
            (model,) for model in self.translators if (model.source, model.target) == (source, target)
        ]
        if direct or source == target:
            return direct
        firsts = [model for model in self.translators if model.source == source]
        seconds = [model for model in self.translators if model.target == target]
        return [(first, second) for first in firsts for second in seconds if first.target == second.source]

    def find_generator(self, name: str) -> ServedGenerator:
        """The language model of a name.

        Raises:
            RequestError: 404, there is none; or 400, it is a translation model.
        """
        for model in self.generators:
            if model.name == name:
                return model
        if any(model.name == name for model in self.translators):
            raise RequestError(400, f"{name} translates; POST /translate asks it", param="model")
        names = ", ".join(model.name for model in self.generators) or "none"
        raise RequestError(
            404,
            f"the model {name[:100]!a} does not exist; this server has {names}",
            param="model",
            code="model_not_found",
        )

    @property
    def languages(self) -> dict[str, list[str]]:
        """To which languages each is translated, by one model or two, in order of the bundles."""
        known = list(dict.fromkeys(code for model in self.translators for code in (model.source, model.target)))
        return {source: [target for target in known if self.routes(source, target)] for source in known}

    @property
    def sources(self) -> list[str]:
        """Languages that are translated from, in order of the bundles."""
        return [source for source, targets in self.languages.items() if targets]

    def close(self) -> None:
        """Lets go of the language models' memory."""
        for model in self.generators:
            model.generator.close()


def route_name(route: Route) -> str:
    """The models' names, with ``+`` between two."""
    return "+".join(model.name for model in route)


def _load(path: Path, threads: int | None) -> ServedTranslator | ServedGenerator:
    bundle = open_bundle(path)
    manifest: Manifest = bundle.manifest
    name = f"{manifest.name}-{manifest.precision}"
    if isinstance(manifest.generation, TextGeneration):
        generator = TextGenerator(bundle, threads)
        chat = None
        if manifest.chat is not None:
            file = bundle.file(manifest.chat.template)
            chat = ChatTemplate.load(file, manifest.chat.special_tokens, generator.tokenizer)
        return ServedGenerator(name, manifest.precision, generator, chat)
    languages = manifest.languages
    if languages.source is None or languages.target is None:
        raise InputError(f"{path}: expected a bundle that says which languages it translates between, found none")
    return ServedTranslator(name, languages.source, languages.target, manifest.precision, Translator(bundle, threads))
