"""Tiny Bergamot students with random weights: a Marian binary, SentencePiece vocabularies and a shortlist.

    student = make_student(tmp_path, vocab=200, d=16, ffn=32, encoder_layers=2, decoder_layers=2, heads=2)
    student.model, student.source_vocab, student.target_vocab, student.shortlist

The same arguments give the same files. Names are those that Firefox uses, for English to Portuguese.
"""

import functools
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
import yaml
from sentencepiece import sentencepiece_model_pb2

from edgekit.export.sources.shortlist_file import MAGIC, hash_words

FLOAT32, INT8, INTGEMM8 = 0x0404, 0x0101, 0x4101
MIN_VOCAB = 100
TRAINED_PIECES = 300

TEXTS = {
    "en": """The children are playing in the garden behind the old house. Good morning, how are you today?
        We would like two cups of coffee and a glass of water, please. The train to the city leaves at seven o'clock.
        My sister lives near the river and works in a small hospital. It was raining, so they stayed at home and read.
        Could you tell me where the nearest pharmacy is? He bought bread, cheese, apples and a bottle of milk.
        Yesterday the museum was closed because of the holiday. She said that the answer was wrong, but nobody listened.
        You can cancel your order within 14 days (see page 32). The quick brown fox jumps over the lazy dog - again!
        Winter in the mountains is long; the roads are often blocked by snow. I don't know whether they will come.
        "Where is Mr. Jones?" asked the woman. In 2019, about 65,780 people visited the zoo. Just wait here.""",
    "pt": """As crianças estão brincando no jardim atrás da casa velha. Bom dia, como você está hoje?
        Queremos duas xícaras de café e um copo de água, por favor. O trem para a cidade sai às sete horas.
        Minha irmã mora perto do rio e trabalha em um hospital pequeno. Chovia, então eles ficaram em casa e leram.
        Você pode me dizer onde fica a farmácia mais próxima? Ele comprou pão, queijo, maçãs e uma garrafa de leite.
        Ontem o museu estava fechado por causa do feriado. Ela disse que a resposta estava errada, mas ninguém ouviu.
        Você pode cancelar o pedido em até 14 dias (veja a página 32). A rápida raposa salta sobre o cão preguiçoso!
        O inverno nas montanhas é longo; as estradas ficam bloqueadas pela neve. Não sei se eles virão.
        "Onde está o Sr. Jones?" perguntou a mulher. Em 2019, cerca de 65.780 pessoas visitaram o zoológico.""",
}


@dataclass(frozen=True)
class Student:
    directory: Path
    model: Path
    source_vocab: Path
    target_vocab: Path
    shortlist: Path


def make_student(
    directory, *, vocab, d, ffn, encoder_layers, decoder_layers, heads, separate_vocab=False, seed=0
) -> Student:
    """Writes a student into ``directory``; each vocabulary has ``vocab`` >= 100 pieces."""
    assert d % heads == 0
    assert vocab >= MIN_VOCAB
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    prefixes = ("srcvocab", "trgvocab") if separate_vocab else ("vocab", "vocab")
    languages = ("en", "pt") if separate_vocab else ("en pt", "en pt")
    paths = [directory / f"{prefix}.enpt.spm" for prefix in prefixes]
    for path, language in zip(paths, languages, strict=True):
        path.write_bytes(sentencepiece_model(language, vocab))
    rng = np.random.default_rng(seed)
    model = directory / "model.enpt.intgemm.alphas.bin"
    config = student_config(vocab, d, ffn, encoder_layers, decoder_layers, heads, separate_vocab)
    items = student_items(rng, vocab, d, ffn, encoder_layers, decoder_layers, separate_vocab)
    model.write_bytes(pack_marian([*items, config_item(config)]))
    shortlist = directory / "lex.50.50.enpt.s2t.bin"
    shortlist.write_bytes(pack_shortlist(*random_shortlist(rng, vocab)))
    return Student(directory, model, *paths, shortlist)


def student_config(vocab, d, ffn, encoder_layers, decoder_layers, heads, separate_vocab=False):
    """The options of ``special:model.yml``, as in the published tiny models."""
    return {
        "type": "transformer",
        "dim-emb": d,
        "dim-vocabs": [vocab, vocab],
        "enc-depth": encoder_layers,
        "dec-depth": decoder_layers,
        "dec-cell": "ssru",
        "transformer-heads": heads,
        "transformer-dim-ffn": ffn,
        "transformer-ffn-depth": 2,
        "transformer-ffn-activation": "relu",
        "transformer-decoder-autoreg": "rnn",
        "transformer-preprocess": "",
        "transformer-postprocess": "dan",
        "transformer-postprocess-emb": "d",
        "transformer-postprocess-top": "",
        "transformer-no-projection": False,
        "transformer-train-position-embeddings": False,
        "transformer-tied-layers": [],
        "tied-embeddings-all": not separate_vocab,
        "tied-embeddings": separate_vocab,
        "tied-embeddings-src": False,
        "output-omit-bias": False,
        "layer-normalization": False,
        "lemma-dim-emb": 0,
        "version": "v1.9.56 94aeaa46 2021-04-28 00:28:35 +0100",
    }


def student_items(rng, vocab, d, ffn, encoder_layers, decoder_layers, separate_vocab=False):
    """All items but the configuration, (name, type, shape, data) sorted by name."""
    items = []

    def matrix(name, rows, columns, alpha=True):
        deviation = rows**-0.5 if "Wemb" not in name else columns**-0.5
        items.append(intgemm8_item(name, rng.normal(0, deviation, (rows, columns))))
        if alpha:
            items.append(float_item(f"{name}_QuantMultA", [[rng.uniform(20, 40)]]))

    def vector(name, size, mean=0.0):
        items.append(float_item(name, rng.normal(mean, 0.1, (1, size))))

    def norm(name):
        vector(f"{name}_ln_scale", d, 1.0)
        vector(f"{name}_ln_bias", d)

    def attention(name):
        for part in "qkvo":
            matrix(f"{name}_W{part}", d, d)
            vector(f"{name}_b{part}", d)
        norm(f"{name}_Wo")

    def feed_forward(name):
        for part, rows, columns in (("1", d, ffn), ("2", ffn, d)):
            matrix(f"{name}_ffn_W{part}", rows, columns)
            vector(f"{name}_ffn_b{part}", columns)
        norm(f"{name}_ffn_ffn")

    for layer in range(1, encoder_layers + 1):
        attention(f"encoder_l{layer}_self")
        feed_forward(f"encoder_l{layer}")
    for layer in range(1, decoder_layers + 1):
        matrix(f"decoder_l{layer}_rnn_W", d, d)
        matrix(f"decoder_l{layer}_rnn_Wf", d, d)
        vector(f"decoder_l{layer}_rnn_bf", d)
        norm(f"decoder_l{layer}_rnn_ffn")
        attention(f"decoder_l{layer}_context")
        feed_forward(f"decoder_l{layer}")
    for name in ("encoder_Wemb", "decoder_Wemb") if separate_vocab else ("Wemb",):
        matrix(name, vocab, d, alpha=False)
    vector("decoder_ff_logit_out_b", vocab)
    alpha = np.float32(rng.uniform(8, 12))
    output = "decoder_Wemb" if separate_vocab else "Wemb"
    items.append((f"{output}_QuantMultA", INTGEMM8, (1, 1), intgemm8_data(np.array([127], np.int8), 127 / alpha)))
    if not separate_vocab:
        items.append(float_item("none_QuantMultA", [[alpha]]))
    return sorted(items)


def intgemm8_item(name, weights):
    """(name, type, shape, data) of a matrix ``[in, out]``, quantised as Marian does; ``Wemb`` is ``[vocab, d]``."""
    weights = np.asarray(weights, np.float32)
    scale = np.float32(127 / np.abs(weights).max())
    values = np.rint(weights * scale).astype(np.int8)
    return name, INTGEMM8, weights.shape, intgemm8_data(values if "Wemb" in name else values.T, scale)


def intgemm8_data(values, scale):
    """Values, their scale right behind, and the garbage that Marian leaves up to a multiple of 256."""
    data = np.ascontiguousarray(values).tobytes() + struct.pack("<f", scale)
    return data + b"\xa5" * (-len(data) % 256)


def float_item(name, values):
    values = np.asarray(values, "<f4")
    data = values.tobytes()
    return name, FLOAT32, values.shape, data + b"\0" * (-len(data) % 256)


def config_item(config):
    text = yaml.safe_dump(config).encode() + b"\0"
    return "special:model.yml", INT8, (len(text),), text


def pack_marian(items, version=1):
    """The bytes of a Marian binary from (name, type, shape, data)."""
    names = [item[0].encode() + b"\0" for item in items]
    head = struct.pack("<QQ", version, len(items))
    for name, (_, kind, shape, data) in zip(names, items, strict=True):
        head += struct.pack("<QQQQ", len(name), kind, len(shape), len(data))
    head += b"".join(names)
    head += b"".join(struct.pack("<i", size) for _, _, shape, _ in items for size in shape)
    pad = -(len(head) + 8) % 256
    return head + struct.pack("<Q", pad) + b"\0" * pad + b"".join(item[3] for item in items)


def random_shortlist(rng, vocab, best=50):
    """Offsets ``[vocab + 1]`` and up to ``best`` ascending target ids a source id; none for ``</s>`` and ``<unk>``."""
    lists = [[], []]
    lists += [
        np.sort(rng.choice(vocab, rng.integers(0, min(best, vocab) + 1), replace=False)) for _ in range(vocab - 2)
    ]
    return np.cumsum([0, *map(len, lists)]), np.concatenate(lists)


def pack_shortlist(offsets, target_ids, first=50, best=50):
    """The bytes of a binary shortlist, its checksum right."""
    body = struct.pack("<QQQQ", first, best, len(offsets), len(target_ids))
    body += np.asarray(offsets, "<u8").tobytes() + np.asarray(target_ids, "<u4").tobytes()
    return struct.pack("<QQ", MAGIC, hash_words(body)) + body


@functools.cache
def sentencepiece_model(languages, vocab):
    """The bytes of a unigram model with </s> = 0, <unk> = 1, neither <s> nor <pad>.

    The few sentences here give some 300 pieces; made-up rare words fill the vocabulary.
    """
    lines = [line.strip() for language in languages.split() for line in TEXTS[language].splitlines()]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=written,
        vocab_size=min(vocab, TRAINED_PIECES),
        hard_vocab_limit=False,
        eos_id=0,
        unk_id=1,
        bos_id=-1,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto.FromString(written.getvalue())
    del model.pieces[vocab:]
    present = {piece.piece for piece in model.pieces}
    lowest = min(piece.score for piece in model.pieces)
    number = 0
    while len(model.pieces) < vocab:
        word = "▁" + "".join(chr(ord("a") + int(digit)) for digit in f"{number:05}")
        if word not in present:
            model.pieces.add(piece=word, score=lowest - 1)
        number += 1
    model.trainer_spec.vocab_size = vocab
    return model.SerializeToString(deterministic=True)
