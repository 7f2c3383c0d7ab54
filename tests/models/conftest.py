"""A tiny corpus, prepared once: 300 made-up pairs in every training set."""

import gzip
import random

import pytest

from models.training.networks import DECODER_ONLY, SEQ2SEQ
from models.training.prepare import DOMAINS, prepare
from models.training.publish import publish
from tests.training_runs import open_run, train_steps

WORDS = {
    "the": "der", "old": "alte", "young": "junge", "man": "Mann", "dog": "Hund", "cat": "Kater", "sees": "sieht",
    "finds": "findet", "likes": "mag", "hears": "hört", "small": "kleine", "big": "große", "today": "heute",
    "never": "nie", "often": "oft", "the teacher": "der Lehrer", "the cook": "der Koch", "the king": "der König",
}  # fmt: skip
NOUNS = ("man", "dog", "cat", "teacher", "cook", "king")
PLANTED = ("The king never finds the old dog.", "Der König findet nie der alte Hund.")


def write_lines(path, rows):
    path.write_bytes(gzip.compress("".join("\t".join(row) + "\n" for row in rows).encode()))


def sentence(chooser):
    nouns = {"teacher": "Lehrer", "cook": "Koch", "king": "König"} | WORDS
    first, second = chooser.choice(NOUNS), chooser.choice(NOUNS)
    kind, verb, when = chooser.choice(("old", "young", "small", "big")), chooser.choice(("sees", "finds", "likes")), ""
    if chooser.random() < 0.5:
        when = chooser.choice(("today", "never", "often"))
    source = " ".join(["The", kind, first, verb, "the", second, *([when] if when else [])]) + "."
    words = ["Der", WORDS[kind], nouns[first], WORDS[verb], "der", nouns[second], *([WORDS[when]] if when else [])]
    return source, " ".join(words) + "."


@pytest.fixture(scope="session", autouse=True)
def short_rounds():
    """A round of 2,000 pairs instead of 20,000."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.training.batches.ROUND", 2000)
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """The training sets, as files; the first holds a sentence of the test set, the second one of the validation set."""
    folder = tmp_path_factory.mktemp("corpus")
    chooser = random.Random(0)
    for name in DOMAINS:
        write_lines(folder / f"{name}.tsv.gz", [sentence(chooser) for _ in range(60)])
    valid = [
        ("A completely different line.", "Eine ganz andere Zeile.", "tatoeba"),
        ("Rust is fast.", "Rust ist schnell.", "rust-book"),
    ]
    write_lines(folder / "valid.tsv.gz", valid)
    first, second = list(DOMAINS)[:2]
    with gzip.open(folder / f"{first}.tsv.gz", "at", encoding="utf-8") as file:
        file.write("THE KING, never finds the old dog\tetwas anderes hier\n")
    with gzip.open(folder / f"{second}.tsv.gz", "at", encoding="utf-8") as file:
        file.write("Something of another kind\teine ganz andere Zeile\n")
    return folder


@pytest.fixture(scope="session")
def testsets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("testsets")
    write_lines(folder / "planted.en.gz", [PLANTED[:1]])
    write_lines(folder / "planted.de.gz", [PLANTED[1:]])
    write_lines(folder / "planted.perfect.de.gz", [PLANTED[1:]])
    return folder


@pytest.fixture(scope="session")
def work(tmp_path_factory, corpus, testsets):
    """What `prepare` writes; not to be changed."""
    folder = tmp_path_factory.mktemp("work")
    prepare(folder, corpus, [testsets], 96)
    return folder


@pytest.fixture(scope="session")
def trained(work, tmp_path_factory):
    """The folders of both models after a few steps, published."""
    folders = {}
    for model in (SEQ2SEQ, DECODER_ONLY):
        run = open_run(tmp_path_factory.mktemp(model), work, model)
        train_steps(run, 40)
        folders[model] = tmp_path_factory.mktemp("published") / model
        publish(run.folder / "state.pt", folders[model], work)
    return folders
