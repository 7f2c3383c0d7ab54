import gzip
import json

import pytest

from edgekit.errors import InputError
from edgekit.quality.task_text import load_items


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in.txt").write_text("he go\nshe run\n")
    (tmp_path / "a.txt").write_text("he goes\nshe runs\n")
    (tmp_path / "b.txt").write_text("he went\nshe ran")
    (tmp_path / "short.txt").write_text("he goes\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "hole.txt").write_text("he goes\n\n")
    with gzip.open(tmp_path / "talk.jsonl.gz", "wt") as file:
        file.write(json.dumps({"talk": "A: Hi.\nB: Hi.", "gist": "They greet.", "all": ["x", "y"]}) + "\n")
    (tmp_path / "bad.jsonl").write_text('{"talk": "x"}\n[1]\n')
    (tmp_path / "pairs.tsv").write_text("one\teins\n")
    return tmp_path


def load(folder, **table):
    return load_items(table, folder, "task.toml, [test]")


def test_files_are_aligned_line_by_line(folder):
    items = load(folder, input="in.txt", reference=["a.txt", "b.txt"])
    assert items.inputs == ("he go", "she run")
    assert items.references == (("he goes", "he went"), ("she runs", "she ran"))
    assert (items.name, len(items)) == ("in", 2)
    other = load(folder, input="in.txt", reference="a.txt")
    assert other.references == (("he goes",), ("she runs",))
    assert other.sha256 != items.sha256
    assert items.first(1).references == (("he goes", "he went"),)
    assert items.pick([1]).inputs == ("she run",)


def test_objects_have_lines_in_their_texts(folder):
    items = load(folder, file="talk.jsonl.gz", input="talk", reference="gist")
    assert (items.inputs, items.references) == (("A: Hi.\nB: Hi.",), (("They greet.",),))
    assert load(folder, file="talk.jsonl.gz", input="talk", reference="all").references == (("x", "y"),)
    assert items.name == "talk"


def test_pairs_are_a_tsv_file(folder):
    items = load(folder, file="pairs.tsv")
    assert (items.inputs, items.references) == (("one",), (("eins",),))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"input": "in.txt", "reference": "short.txt"}, r"short\.txt: expected as many lines as in\.txt, 2, found 1"),
        ({"input": "in.txt", "reference": "hole.txt"}, r"in\.txt: .* found an empty one in line 2"),
        ({"input": "in.txt", "reference": "none.txt"}, r"none\.txt: expected a file with a text a line, found none"),
        ({"input": "empty.txt", "reference": "a.txt"}, r"empty\.txt: expected a text a line, found an empty file"),
        ({"input": "in.txt"}, r"expected a file or a list of files as reference, found None"),
        ({"input": "in.txt", "reference": ["a.txt", 3]}, r"expected a file or a list of files as reference"),
        ({"reference": "a.txt"}, r"\[test\]: expected a text as input, found None"),
        ({"inputs": "in.txt"}, r"\[test\]: unknown key 'inputs'; expected file, input, reference"),
        ({"file": "bad.jsonl", "input": "talk", "reference": "gist"}, r"under 'talk' and 'gist' in line 1; found the"),
        ({"file": "bad.jsonl", "input": "talk", "reference": "talk"}, r"expected a JSON object in line 2"),
        ({"file": "pairs.tsv", "input": "x"}, r"input and reference name keys of a \.jsonl file; pairs\.tsv has two"),
        ({"file": "in.txt"}, r"in\.txt: expected source<TAB>reference, two non-empty columns"),
    ],
)
def test_bad_tables_are_refused_in_one_line(folder, table, message):
    with pytest.raises(InputError, match=message):
        load(folder, **table)


def test_a_table_is_needed(folder):
    with pytest.raises(InputError, match=r"expected a table with input and reference, found 'x'"):
        load_items("x", folder, "task.toml, [test]")
