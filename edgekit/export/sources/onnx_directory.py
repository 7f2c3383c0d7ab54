"""A directory of ONNX graphs that optimum exported, as a checkpoint.

In: a directory on this disk. Out: a `Checkpoint` of kind ``onnx``; where it came from says nothing but its name and its
files' hashes. Refused in one line: a directory without such graphs, or without what describes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.bundle.files import MANIFEST_NAME
from edgekit.errors import ModelNotFoundError, SourceError
from edgekit.export.onnx_folder import ENCODER, MODEL, find_graphs
from edgekit.export.sources.checkpoint import Checkpoint, source_record
from edgekit.export.sources.local_directory import card_license
from edgekit.export.sources.repository_files import CAUSAL_LM_FILES, DOCUMENTS

REQUIRED = ("config", "tokenizer")


def read_onnx_directory(directory: Path, name: str, origin: Checkpoint | None = None) -> Checkpoint:
    """The checkpoint in a directory of ONNX graphs.

    Args:
        directory: where the files lie.
        name: name for the checkpoint.
        origin: the checkpoint that the graphs were exported from, whose source, languages and documents count then.

    Raises:
        ModelNotFoundError: there is no such directory.
        SourceError: it holds no graphs, or lacks other files.
    """
    if not directory.is_dir():
        raise ModelNotFoundError(f"{directory} is no directory; give the one that optimum-cli export onnx wrote")
    if (directory / MANIFEST_NAME).is_file():
        raise SourceError(f"{directory} is an edgekit bundle already; `edgekit quantize {directory}` makes it int8")
    graphs = find_graphs(directory)
    if graphs is None:
        raise SourceError(f"{directory} holds neither {ENCODER} nor {MODEL}; give what optimum-cli export onnx wrote")
    described = {role: directory / file for role, file in CAUSAL_LM_FILES.items() if (directory / file).is_file()}
    if missing := [CAUSAL_LM_FILES[role] for role in REQUIRED if role not in described]:
        where = directory if origin is None else origin.files["config"].parent
        raise SourceError(
            f"{where} lacks {' and '.join(missing)}; copy the model's own there, tokenizer.json as "
            'AutoTokenizer.from_pretrained("MODEL").save_pretrained("DIRECTORY") writes it'
        )
    files = {**described, **graphs.files}
    if origin is not None:
        return Checkpoint(**{**vars(origin), "name": name, "kind": "onnx", "files": files})
    license_name = card_license(directory)
    record: Mapping[str, Any] = source_record("local", directory.resolve().name, None, license_name, files)
    documents = tuple(directory / file for file in DOCUMENTS if (directory / file).is_file())
    return Checkpoint(name, "onnx", files, {"source": None, "target": None}, license_name, record, documents)
