"""A shortlist learned from translations: who translates whom, what is always possible, what it is worth."""

import gzip

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.export import learned_shortlist, pipeline
from edgekit.export.learned_shortlist import LearnedShortlist, learn_shortlist, read_lines
from edgekit.export.model import ShortlistArrays
from edgekit.export.pipeline import export_checkpoint
from edgekit.export.sources.local_directory import read_directory
from edgekit.recipes import embedded_dir
from edgekit.runtime import load
from edgekit.runtime.shortlist import Shortlist
from tests.bergamot_fixture import make_student

END, WORDS = 0, 30


@pytest.fixture
def dictionary():
    """Sentences of 2 to 4 words out of 1 to 29, word ``w`` being ``w + 30`` in the other language."""
    random = np.random.default_rng(0)
    words = [random.choice(np.arange(1, WORDS), random.integers(2, 5), replace=False) for _ in range(400)]
    return [[*row.tolist(), END] for row in words], [(row + WORDS).tolist() for row in words]


def learn(sources, translations, **options):
    found = learn_shortlist(sources, translations, (WORDS, 2 * WORDS), **{"is_shared": False} | options)
    return found, Shortlist(found.arrays.offsets, found.arrays.target_ids, found.arrays.first)


def test_a_words_own_translation_comes_first(dictionary, monkeypatch):
    monkeypatch.setattr(learned_shortlist, "BEST", 1)
    monkeypatch.setattr(learned_shortlist, "ALWAYS", 1)  # the end token, which every translation has
    found, shortlist = learn(*dictionary)
    assert shortlist.candidates([5, 7, END]).tolist() == [END, 5 + WORDS, 7 + WORDS]
    assert found.unchanged == 1
    lengths = [len(row) for row in dictionary[0][::20]]  # each word's translation, and the end token's
    assert found.candidates == pytest.approx(np.mean(lengths))


def test_frequent_targets_are_always_candidates(dictionary, monkeypatch):
    monkeypatch.setattr(learned_shortlist, "BEST", 1)
    monkeypatch.setattr(learned_shortlist, "ALWAYS", 2)
    sources, translations = dictionary
    _, shortlist = learn(sources, [[*row, 59] for row in translations])
    assert shortlist.candidates([5, END]).tolist() == [END, 5 + WORDS, 59]


def test_a_shared_vocabularys_pieces_may_become_themselves(dictionary, monkeypatch):
    monkeypatch.setattr(learned_shortlist, "BEST", 1)
    monkeypatch.setattr(learned_shortlist, "ALWAYS", 1)
    _, shortlist = learn(*dictionary, is_shared=True)
    assert shortlist.candidates([5, END]).tolist() == [END, 5, 5 + WORDS]


def test_a_source_id_that_was_never_seen_has_what_every_sentence_has(dictionary, monkeypatch):
    monkeypatch.setattr(learned_shortlist, "ALWAYS", 1)
    sources, translations = dictionary
    found = learn_shortlist(sources, translations, (WORDS + 1, 2 * WORDS), is_shared=False)
    shortlist = Shortlist(found.arrays.offsets, found.arrays.target_ids, found.arrays.first)
    assert set(shortlist.candidates([WORDS, END])) == set(shortlist.candidates([END]))


def test_what_changes_too_many_sentences_is_refused(dictionary, monkeypatch):
    monkeypatch.setattr(learned_shortlist, "BEST", 1)
    monkeypatch.setattr(learned_shortlist, "ALWAYS", 1)
    sources, translations = dictionary
    # Of the 20 sentences that are not learned from, 5 have a word that no other has.
    for index in range(0, 100, 20):
        translations[index].append(59 if 59 not in translations[index] else 58)
    rare = [[w for w in row if w not in (58, 59)] if i % 20 else row for i, row in enumerate(translations)]
    message = "learned from 380 sentences keeps 7[05]% of 20 others as they are .expected 80%.: give more text"
    with pytest.raises(InputError, match=message):
        learn(sources, rare)


@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz"])
def test_sentences_stand_before_a_tab(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(learned_shortlist, "LEAST_LINES", 2)
    monkeypatch.setattr(learned_shortlist, "MOST_LINES", 3)
    text = b"One.\tEins.\n\n  \nTwo.\nThree.\tDrei.\tx\nFour.\n"
    path = tmp_path / f"text{suffix}"
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    assert read_lines(path) == ["One.", "Two.", "Three."]


@pytest.mark.parametrize("content", [b"\xff", b"\xff\xfe", b"\0H\0i\0\n" * 2000, None, b"not gzip"])
def test_unreadable_text_is_refused(content, tmp_path):
    path = tmp_path / ("text.gz" if content == b"not gzip" else "text")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"text.*: expected UTF-8 text to learn a shortlist from, found "):
        read_lines(path)


def test_too_few_sentences_are_refused(tmp_path):
    path = tmp_path / "text"
    path.write_text("One.\n")
    with pytest.raises(InputError, match=r"text: a shortlist needs at least 1000 sentences, found 1$"):
        read_lines(path)


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """60 sentences, of which none is asked but those that were learned from."""
    monkeypatch.setattr(learned_shortlist, "LEAST_LINES", 1)
    monkeypatch.setattr(learned_shortlist, "ALWAYS", 20)
    path = tmp_path / "lines"
    path.write_text("".join(f"{who} {does} a {what}.\n" for who in WHO for does in DOES for what in WHAT) * 2)
    return path


WHO, DOES, WHAT = ("A man", "The woman"), ("sees", "buys", "likes"), ("dog", "house", "red car", "book", "bicycle")


def test_an_exported_bundle_translates_from_its_shortlist(lines, embedded_int8, tmp_path):
    directory = embedded_dir("marian-en-de")
    said = []
    checkpoint = read_directory(directory, "marian-en-de")
    bundle = export_checkpoint(checkpoint, "int8", tmp_path / "short", shortlist_text=lines, notify=said.append)
    assert said[-1].startswith("the shortlist has ")
    assert said[-1].endswith("% of the sentences it was not learned from are translated as without it")
    short, full = load(bundle), load(embedded_int8)
    texts = lines.read_text().splitlines()[1:20]
    assert short.translate(texts) == full.translate(texts)
    # Ids that no sentence had are none of its candidates, so other text comes out otherwise.
    assert short.translate("Yesterday the parliament passed a law.") != full.translate(
        "Yesterday the parliament passed a law."
    )
    assert short.n_best("A man sees a dog.", 2)[0].score <= 0


def test_a_shortlist_that_would_not_save_time_says_so():
    arrays = ShortlistArrays(np.zeros(1, np.uint32), np.zeros(0, np.uint32), 1)
    learned = LearnedShortlist(arrays, unchanged=0.955, candidates=1999.6)
    kept = "95.5% of the sentences it was not learned from are translated as without it"
    many = "the shortlist has 2000 of 8000 target tokens a sentence"
    # Four bytes a weight of a candidate's row, against one of any row: 2,000 of 8,001 are just few enough.
    assert learned.describe(8001, "int8") == f"the shortlist has 2000 of 8001 target tokens a sentence; {kept}"
    advice = "too many to be faster than all of them in int8: export without the text"
    assert LearnedShortlist(arrays, 0.955, 2000).describe(8000, "int8") == f"{many}, {advice}; {kept}"
    assert LearnedShortlist(arrays, 0.955, 2000).describe(8000, "fp32") == f"{many}; {kept}"


def test_a_model_with_a_shortlist_takes_no_other(lines, tmp_path):
    make_student(tmp_path / "student", vocab=120, d=16, ffn=24, encoder_layers=1, decoder_layers=1, heads=2)
    checkpoint = read_directory(tmp_path / "student", "tiny-en-pt")
    with pytest.raises(InputError, match=r"^tiny-en-pt comes with a shortlist of its own; export it without the text$"):
        export_checkpoint(checkpoint, "int8", tmp_path / "bundle", shortlist_text=lines)
    assert not (tmp_path / "bundle").exists()


def test_a_model_that_only_writes_takes_no_shortlist(lines, tmp_path, monkeypatch):
    checkpoint = read_directory(embedded_dir("marian-en-de"), "writer")
    monkeypatch.setitem(pipeline.READERS, checkpoint.kind, lambda checkpoint: object())
    with pytest.raises(InputError, match=r"^writer is no translation model: it takes no shortlist; export without$"):
        export_checkpoint(checkpoint, "int8", tmp_path / "bundle", shortlist_text=lines)
