"""One SentencePiece vocabulary for both models, laid out as MarianTokenizer expects it.

Ids: ``</s>`` 0, ``<unk>`` 1, then the pieces in SentencePiece's order, ``<sep>`` among them, ``<pad>`` last. ``<pad>``
also starts the seq2seq decoder; ``<sep>`` stands between source and target in the language model. Neither, nor
``</s>``, is ever reached from text.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

EOS, UNKNOWN, SEPARATOR, PAD = "</s>", "<unk>", "<sep>", "<pad>"
EOS_ID, UNKNOWN_ID = 0, 1
SPM_FILE, VOCAB_FILE = "shared.spm", "vocab.json"


def train_vocabulary(lines: Iterable[str], size: int, folder: Path) -> None:
    """Writes shared.spm and vocab.json; the vocabulary has exactly `size` ids."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        # <unk>, <s> and </s> of SentencePiece against </s>, <unk> and <pad> here.
        vocab_size=size,
        model_type="unigram",
        character_coverage=0.9999,
        control_symbols=[SEPARATOR],
        num_threads=1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPM_FILE).write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    special = {EOS, UNKNOWN, "<s>"}
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    ordered = [EOS, UNKNOWN, *(piece for piece in pieces if piece not in special), PAD]
    text = json.dumps({piece: index for index, piece in enumerate(ordered)}, ensure_ascii=False)
    (folder / VOCAB_FILE).write_text(text, encoding="utf-8")


class Vocabulary:
    """Text to ids and back.

    Attributes:
        ids: vocab.json.
        separator, pad: The ids of ``<sep>`` and ``<pad>``.
    """

    def __init__(self, folder: Path) -> None:
        """Opens what `train_vocabulary` wrote."""
        self._processor = sentencepiece.SentencePieceProcessor(str(folder / SPM_FILE))
        self.ids: dict[str, int] = json.loads((folder / VOCAB_FILE).read_text(encoding="utf-8"))
        self._pieces = sorted(self.ids, key=self.ids.__getitem__)
        self._map = [self.ids.get(piece, UNKNOWN_ID) for piece in self._piece_list()]
        self.separator, self.pad = self.ids[SEPARATOR], self.ids[PAD]

    def _piece_list(self) -> list[str]:
        return [self._processor.id_to_piece(i) for i in range(self._processor.get_piece_size())]

    def __len__(self) -> int:
        return len(self.ids)

    def encode(self, text: str) -> list[int]:
        """Ids without ``</s>``."""
        return [self._map[index] for index in self._processor.encode(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Text up to the first ``</s>``, without special tokens."""
        pieces = []
        for index in ids:
            if index == EOS_ID:
                break
            if index not in (self.pad, self.separator):
                pieces.append(self._pieces[index])
        return self._processor.decode(pieces)
