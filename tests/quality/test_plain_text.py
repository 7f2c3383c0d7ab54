import gzip
from importlib import resources

import pytest

from edgekit.errors import InputError
from edgekit.quality import plain_text, text_file
from edgekit.quality.plain_text import load_text, text_names


def test_packaged_texts_are_wikitext_and_its_start():
    whole, start = load_text("wikitext2"), load_text("wikitext2-start")
    assert text_names() == ["wikitext2", "wikitext2-start"]
    assert (whole.words, whole.size_bytes) == (116_727, 625_213)
    assert whole.sha256 == start.sha256 == "86ae913924fbfcd5b81b6fe0b7dc42a3d71b7e73be73f5dacc5dd7c34d2b6abb"
    assert whole.text.startswith(start.text)
    assert start.words == 8272
    # Whole articles: the next line of the text is a title.
    assert whole.text[len(start.text) :].startswith("\n = Ise @-@ class battleship = \n")
    assert whole.license.startswith("CC BY-SA")


def test_default_text_is_packaged():
    assert plain_text.DEFAULT_TEXT in text_names()


def test_every_packaged_text_is_attributed():
    attribution = resources.files("edgekit.quality").joinpath("testsets", "ATTRIBUTION.md").read_text(encoding="utf-8")
    for packaged in plain_text.PACKAGED.values():
        assert f"`{packaged.file}`" in attribution


@pytest.mark.parametrize("name", ["mine.txt", "mine.txt.gz"])
def test_users_file_is_read(tmp_path, name):
    data = "\ufeffGood morning.\nÄpfel\u2028und Birnen.\n".encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    found = load_text(str(path))
    assert found.name == "mine"
    assert found.text == "Good morning.\nÄpfel\u2028und Birnen.\n"
    assert (found.words, found.size_bytes) == (5, len("Good morning.\nÄpfel\u2028und Birnen.\n".encode()))
    assert found.license == "the user's own"


def test_limit_takes_the_first_lines(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("one\n\u2028two\nthree\n", encoding="utf-8")
    found = load_text(str(path))
    assert found.first(2).text == "one\n\u2028two"
    assert found.first(2).sha256 == found.sha256
    assert found.first(None) == found
    assert found.first(99).text == found.text


def test_limits_without_a_word_are_refused(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\n\none\n", encoding="utf-8")
    with pytest.raises(InputError, match="mine: its first 2 lines hold no word; use more of them"):
        load_text(str(path)).first(2)
    with pytest.raises(InputError, match="limit must be at least 1 line, found 0; leave it out to use every line"):
        load_text(str(path)).first(0)


def test_bad_files_are_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r'no text "nowhere": .*wikitext2, wikitext2-start.* there is neither'):
        load_text("nowhere")
    path = tmp_path / "mine.txt"
    path.write_bytes(b"  \n\n")
    with pytest.raises(InputError, match=r"mine.txt: expected text, found a file without a word"):
        load_text(str(path))
    path.write_bytes("gut\nÄpfel".encode("latin-1"))
    with pytest.raises(InputError, match=r"mine.txt: expected UTF-8, found another encoding in line 2; convert"):
        load_text(str(path))
    cut = tmp_path / "mine.txt.gz"
    cut.write_bytes(gzip.compress(b"text " * 1000)[:-20])
    with pytest.raises(InputError, match=r"mine.txt.gz: cannot be read as a text: .*check the file"):
        load_text(str(cut))
    monkeypatch.setattr(text_file, "MAX_TEXT_BYTES", 2**20)
    path.write_bytes(b"word " * 2**18)
    with pytest.raises(InputError, match=r"expected at most 1 MiB of text, found more; use less of it"):
        load_text(str(path))
