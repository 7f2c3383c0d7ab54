"""UTF-16 without a byte order mark is valid UTF-8, full of NULs: told by where these are, and refused."""

import gzip
import io

import pytest

from edgekit.cli.translate import _waiting_lines
from edgekit.encodings import describe_utf_16
from edgekit.errors import InputError
from edgekit.quality.parallel_text import load_testset
from edgekit.quality.plain_text import load_text
from edgekit.serve.api_keys import ApiKeys
from tests.cli.command import assert_fails, edgekit

TEXTS = ["Hi.", "A cat.\n", "Grün ist die Heide.", "Привет, как дела?\nХорошо.", "שלום עולם, שלום", "Ābols un Āda.\n"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["UTF-16LE", "UTF-16BE"])
def test_utf_16_is_told_by_its_zero_bytes(name, text):
    found = describe_utf_16(text.encode(name))
    assert found == f"{name} without a byte order mark; iconv -f {name} -t UTF-8 converts it"
    assert describe_utf_16(("\ufeff" + text).encode(name)) == "UTF-16; iconv -f UTF-16 -t UTF-8 converts it"


@pytest.mark.parametrize("text", [*TEXTS, "", "\0", "a\0b", "\n   \n\0\na\0b\n", "one\0two\0three\0four\0", "\0" * 9])
def test_utf_8_is_none_with_a_stray_nul_or_with_several(text):
    assert describe_utf_16(text.encode()) is None


@pytest.mark.parametrize("name", ["UTF-16LE", "UTF-16BE"])
def test_a_file_is_refused_by_its_name(name, tmp_path):
    refused = rf"^.*mine: expected UTF-8, found {name} without a byte order mark; iconv -f {name} -t UTF-8 converts it$"
    pairs = "Good morning!\tGuten Morgen!\n".encode(name)
    (tmp_path / "mine").write_bytes(pairs)
    (tmp_path / "mine.tsv.gz").write_bytes(gzip.compress(pairs))
    with pytest.raises(InputError, match=refused):
        load_testset(str(tmp_path / "mine"), "en", "de")
    with pytest.raises(InputError, match=refused.replace("mine", r"mine\.tsv\.gz")):
        load_testset(str(tmp_path / "mine.tsv.gz"), "en", "de")
    with pytest.raises(InputError, match=refused):
        load_text(str(tmp_path / "mine"))
    with pytest.raises(InputError, match=refused.replace("UTF-8, ", "API keys in UTF-8, ")):
        ApiKeys.read(tmp_path / "mine")


@pytest.mark.parametrize("name", ["UTF-16LE", "UTF-16BE"])
@pytest.mark.parametrize("text", ["Good morning!\nGood night!\n", "\nGood morning!\n", "A\nB\nC\n"])
def test_lines_are_refused_where_the_first_tell_it(name, text):
    given = []

    def collect():
        for _, lines in _waiting_lines(io.BytesIO(text.encode(name))):
            given.extend(lines)

    with pytest.raises(InputError, match=f"^expected UTF-8 on stdin, found {name} without a byte order mark; iconv"):
        collect()
    assert len(given) <= 1


def test_a_prompt_is_refused_before_anything_is_exported(tmp_path):
    done = edgekit("generate", "smollm2-135m", stdin="Hello".encode("utf-16-le"), env={"EDGEKIT_CACHE": str(tmp_path)})
    assert_fails(done, 1, "expected UTF-8 on stdin, found UTF-16LE without a byte order mark; iconv -f UTF-16LE")
