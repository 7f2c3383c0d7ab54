"""What a search has found so far, in a file of edgekit's cache: a search that was interrupted goes on from there.

The file's name is a hash of the fp32 bundle's weights and of all that the results depend on, so another model or other
settings never meet it. It is replaced whole after each result; one that is damaged counts as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from edgekit.cache import cache_dir
from edgekit.errors import OutputError

__all__ = ["SearchState"]


class SearchState:
    """Results by key; each is on the disk when `put` returns.

    Attributes:
        path: the file.
    """

    def __init__(self, identity: Mapping[str, Any]) -> None:
        """Opens the state of the search that these values identify, or a new one."""
        text = json.dumps(identity, sort_keys=True)
        self.path = cache_dir() / "searches" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
        self._identity = json.loads(text)
        self._results: dict[str, Any] = {}
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["identity"] == self._identity and isinstance(content["results"], dict):
                self._results = content["results"]
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def __contains__(self, key: str) -> bool:
        return key in self._results

    def get(self, key: str) -> Any:
        """The result of that key; KeyError where there is none."""
        return self._results[key]

    def put(self, key: str, result: Any) -> None:
        """Keeps a result, which JSON can hold.

        Raises:
            OutputError: the cache can't be written.
        """
        self._results[key] = result
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, staged = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump({"identity": self._identity, "results": self._results}, file)
            os.replace(staged, self.path)
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot keep what the search found: {error.strerror}; set EDGEKIT_CACHE to a directory "
                "that can be written"
            ) from None

    def forget(self) -> None:
        """Removes the file: the search is over."""
        self.path.unlink(missing_ok=True)
