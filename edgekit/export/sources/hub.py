"""Fetches a model's repository from the Hugging Face hub into the hub's own cache.

In: ``org/name`` and a revision. Out: a `Checkpoint` whose source record names the commit. huggingface_hub does the
fetching, resuming and checking, and obeys ``HF_HOME``, ``HF_HUB_CACHE``, ``HF_HUB_OFFLINE``, ``HF_TOKEN`` and
``HF_ENDPOINT``. Only the files that an export needs are taken, and never code: no ``*.py``, no ``trust_remote_code``. A
hub that does not answer within ten seconds counts as unreachable; then a complete snapshot in the cache serves, if any.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import SourceError
from edgekit.export.sources.checkpoint import Checkpoint, UnavailableSourceError
from edgekit.export.sources.download import within
from edgekit.export.sources.local_directory import check_model_type, is_whole, read_directory
from edgekit.export.sources.repository_files import select_files

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

__all__ = ["fetch_repository", "is_cached"]

DEADLINE_SECONDS = 10.0
REQUEST_SECONDS = 5.0
# Ten times the largest model that edgekit is meant for, in float16.
MAX_MODEL_BYTES = 32 * 2**30


def fetch_repository(
    repo_id: str,
    revision: str | None,
    name: str,
    license_name: str | None,
    notify: Callable[[str], None],
) -> Checkpoint:
    """The checkpoint of a hub repository, fetched as far as it is not in the cache yet.

    Args:
        repo_id: ``org/name``.
        revision: Branch, tag or commit; None takes the default branch.
        name: Name for the checkpoint.
        license_name: Licence to record if the model card states none.
        notify: Told in one line if a snapshot from the cache is used because the hub can't be reached.

    Raises:
        UnavailableSourceError: The hub can't be reached and the cache has no whole snapshot, or the repository or
            revision does not exist or is not open to this user.
        SourceError: The repository is no checkpoint, or is too large.
        UnsupportedError: Its model type is not one that edgekit exports.
    """
    try:
        info = _describe_repository(repo_id, revision)
    except UnavailableSourceError as error:
        snapshot = _cached_snapshot(repo_id, revision)
        if snapshot is None:
            raise
        checkpoint = _read_snapshot(snapshot, repo_id, name, license_name)
        notify(f"{error}; using the snapshot {snapshot.name[:12]} from the hub's cache")
        return checkpoint
    snapshot = _fetch_snapshot(repo_id, revision, info)
    return _read_snapshot(snapshot, repo_id, name, license_name)


def is_cached(repo_id: str) -> bool:
    """Whether the hub's cache holds a whole snapshot of a repository's default branch. Opens no connection."""
    return _cached_snapshot(repo_id, None) is not None


def _read_snapshot(snapshot: Path, repo_id: str, name: str, license_name: str | None) -> Checkpoint:
    return read_directory(snapshot, name, "hub", repo_id, revision=snapshot.name, license_name=license_name)


def _describe_repository(repo_id: str, revision: str | None) -> ModelInfo:
    """What the hub says of a repository: its commit and its files with their sizes."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    def ask() -> ModelInfo:
        return HfApi().model_info(repo_id, revision=revision, timeout=REQUEST_SECONDS, files_metadata=True)

    try:
        return within(DEADLINE_SECONDS, ask)
    except GatedRepoError:
        raise _gated(repo_id) from None
    except RevisionNotFoundError:
        raise UnavailableSourceError(f"{repo_id} has no revision {revision!r} on the hub") from None
    except RepositoryNotFoundError:
        raise UnavailableSourceError(
            f"the hub has no repository {repo_id}, or it is private; check the name, or set HF_TOKEN"
        ) from None
    except HFValidationError:
        raise SourceError(f"{repo_id!r} is not a repository's name; expected org/name") from None
    except _failures() as error:
        raise UnavailableSourceError(f"the Hugging Face hub can't be reached ({_describe(error)})") from None


def _fetch_snapshot(repo_id: str, revision: str | None, info: ModelInfo) -> Path:
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    descriptions, weights = select_files(sizes, repo_id)
    total = sum(sizes[file] for file in (*descriptions, *weights))
    if total > MAX_MODEL_BYTES:
        raise SourceError(f"{repo_id} has {total:,} bytes of model files, more than the {MAX_MODEL_BYTES:,} expected")
    # What the configuration already shows to be unsupported is not worth gigabytes.
    check_model_type(_download(repo_id, revision, descriptions))
    return _download(repo_id, revision, [*descriptions, *weights])


def _download(repo_id: str, revision: str | None, files: list[str]) -> Path:
    """The snapshot's directory, with these files in it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class TerminalBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # huggingface_hub's bar of files would otherwise show in logs too.
            disable = kwargs.pop("disable", False) or not sys.stderr.isatty()
            super().__init__(*args, disable=disable, **kwargs)  # type: ignore[no-untyped-call]

    try:
        snapshot = snapshot_download(
            repo_id,
            revision=revision,  # not info.sha: only a branch's name makes the snapshot findable without the hub
            allow_patterns=files,
            etag_timeout=DEADLINE_SECONDS,
            tqdm_class=TerminalBar,
        )
    except GatedRepoError:  # of such a repository the hub describes the files, and keeps them back
        raise _gated(repo_id) from None
    except _failures() as error:
        raise UnavailableSourceError(
            f"fetching {repo_id} from the hub failed ({_describe(error)}); run again to go on from there"
        ) from None
    return Path(snapshot)


def _cached_snapshot(repo_id: str, revision: str | None) -> Path | None:
    """The directory of a whole snapshot in the cache, None if there is none."""
    from huggingface_hub import try_to_load_from_cache

    for file in ("config.json", "README.md"):  # a repository of GGUF files need not have the former
        found = try_to_load_from_cache(repo_id, file, revision=revision)
        if isinstance(found, str) and is_whole(Path(found).parent):
            return Path(found).parent
    return None


def _gated(repo_id: str) -> UnavailableSourceError:
    return UnavailableSourceError(f"{repo_id} asks for consent on its page; give it and set HF_TOKEN")


def _failures() -> tuple[type[Exception], ...]:
    """What a failed request raises, whichever HTTP client this huggingface_hub has.

    OSError with requests (0.x), httpx.HTTPError later on; ValueError for a portal's page in place of the hub's JSON.
    """
    from huggingface_hub.errors import HfHubHTTPError

    # The bases of HfHubHTTPError include the client's own error.
    return (OSError, ValueError, *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)))


def _describe(error: BaseException) -> str:
    """The first line of an error's message, without the address dumps that HTTP clients append."""
    import huggingface_hub.constants

    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    cause = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    lines = (getattr(cause, "strerror", None) or str(cause) or str(error)).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
