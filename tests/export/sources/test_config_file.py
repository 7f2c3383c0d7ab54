import pytest

from edgekit.errors import SourceError
from edgekit.export.sources.config_file import parse_yaml, read_json
from tests.damage import damaged_copies, refusals


@pytest.fixture
def write(tmp_path):
    def write(data):
        path = tmp_path / "config.json"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


def test_an_object_is_read_and_the_last_of_repeated_keys_counts(write):
    assert read_json(write('{"a": 1, "b": [true, null, "ü😀"], "a": 2}'), "it") == {"a": 2, "b": [True, None, "ü😀"]}


def test_a_byte_order_mark_and_escaped_emoji_are_fine(write):
    assert read_json(write(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}'), "it") == {"a": "😀"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("[1]", r"config.json: expected the configuration as an object of named values, found list"),
        ('"text"', r"found str"),
        ('{"a": 1', r"expected the configuration as JSON, found: .*; fetch it again"),
        ("<!DOCTYPE html>", r"as JSON, found: Expecting value"),
        (b'{"a": "\xff"}', r"as JSON, found: 'utf-8' codec can't decode"),
        ('{"a": "\\ud83d"}', r"as JSON, found: 'utf-8' codec can't encode"),
        ('{"\\uDE00": 1}', r"as JSON, found: 'utf-8' codec can't encode"),
        ('{"a": ' + "9" * 5000 + "}", r"as JSON, found: Exceeds the limit"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", r"of at most 32 levels, found more"),
        ('{"a":' * 100_000, r"of at most 32 levels, found more"),
        ("[" * 2_000_000, r"of at most 32 levels, found more"),
        (" " * (16 << 20) + "{}", r"of at most 16777216 bytes, found 16777218"),
        ("", r"found an empty file"),
    ],
)
def test_what_is_not_a_bounded_json_object_is_refused(write, data, message):
    with pytest.raises(SourceError, match=message) as caught:
        read_json(write(data), "the configuration")
    assert len(str(caught.value).splitlines()) == 1


def test_damaged_json_gives_one_line_or_an_object(tmp_path):
    data = b'{"d_model": 512, "names": ["a", "\\ud83d\\ude00"], "nested": {"x": 1.5e3, "y": null}}'
    messages = refusals(lambda path: read_json(path, "it"), tmp_path / "c.json", damaged_copies(data, 300))
    assert len(messages) > 300


def test_yaml_gives_plain_values():
    text = (
        b'type: transformer\ndim-vocabs:\n  - 32000\n  - 32000\npreprocess: ""\ntied: true\ninput-types: []\nx: 1.5\n'
        b"version: 2021-04-28\nequals: =\n<<: {a: null}\n"
    )
    assert parse_yaml(text, "it") == {
        "type": "transformer",
        "dim-vocabs": [32000, 32000],
        "preprocess": "",
        "tied": True,
        "input-types": [],
        "x": 1.5,
        "version": "2021-04-28",
        "equals": "=",
        "<<": {"a": None},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: &x 1", r"model.yml: expected plain YAML, found: an anchor or alias in line 1; the file is damaged"),
        (b"a: 1\nb: *x", r"an anchor or alias in line 2"),
        (b"a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]", r"an anchor or alias in line 1"),
        (b"a: !!python/name:os.system ''", r"found: a tag in line 1"),
        (b"a: !!bool maybe", r"found: a tag in line 1"),
        (b"a: " + b"[" * 40 + b"]" * 40, r"found: too many levels in line 1"),
        (b"a: " + b"[" * 60_000, r"expected plain YAML, found"),
        (b"a: 0b_", r"expected plain YAML, found: invalid literal"),
        (b"a: " + b"9" * 5000, r"expected plain YAML, found: Exceeds the limit"),
        (b"a: \xff", r"expected plain YAML, found: 'utf-8' codec"),
        (b"a: \x01", r"expected plain YAML, found: unacceptable character"),
        (b"a: b: c", r"expected plain YAML, found: mapping values are not allowed here in line 1"),
        (b"{[a]: 1}", r"expected plain YAML, found: found unhashable key"),
        (b"1: a", r"expected names that are text, found others"),
        (b"text", r"found str"),
        (b"", r"found NoneType"),
        (b"a: 1\n---\nb: 2", r"expected plain YAML, found: but found another document"),
        (b"#" * (65 << 10), r"expected YAML of at most 65536 bytes, found 66560"),
    ],
)
def test_what_is_not_a_plain_yaml_mapping_is_refused(text, message):
    with pytest.raises(SourceError, match=message) as caught:
        parse_yaml(text, "model.yml")
    assert len(str(caught.value).splitlines()) == 1


def test_damaged_yaml_gives_one_line_or_a_mapping(tmp_path):
    data = b"type: transformer\ndim-vocabs:\n  - 32000\n  - 32000\ntransformer-heads: 8\nversion: v1.9.56 2021-04-28\n"
    read = refusals(
        lambda path: parse_yaml(path.read_bytes(), str(path)), tmp_path / "m.yml", damaged_copies(data, 300)
    )
    assert read
