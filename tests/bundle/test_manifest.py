import copy
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bundle.fields import MAX_JSON_BYTES, MAX_JSON_DEPTH
from edgekit.bundle.manifest import FileRecord, Manifest, Quantization, ShortlistFile, TensorQuantization
from edgekit.errors import BundleError
from tests.bundle.tiny_bundle import tiny_manifest

FILES = {
    name: FileRecord(size_bytes, "0123456789abcdef" * 4)
    for name, size_bytes in {"encoder.onnx": 253, "decoder.onnx": 374, "tokenizer.json": 18, "shortlist.npz": 0}.items()
}
GOOD = dataclasses.replace(
    tiny_manifest(),
    precision="int8",
    quantization=Quantization("int8", "per row", {"embedding": TensorQuantization("int8", "scale", "per-tensor")}),
    shortlist=ShortlistFile("shortlist.npz", 2),
    measured={"chrf": 61.5, "signature": "nrefs:1|case:mixed"},
    files=FILES,
)
VALUES = json.loads(GOOD.to_json())


def read(values):
    return Manifest.from_json(json.dumps(values), "m/bundle.json")


def edited(path, value):
    """The good manifest with one value replaced; a path as 'graphs.encoder.file' or 'state.0.past'."""
    values = copy.deepcopy(VALUES)
    place = values
    *outer, last = path.split("/")
    for key in outer:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[int(last) if isinstance(place, list) else last] = value
    return values


def test_manifest_survives_a_round_trip():
    assert read(VALUES) == GOOD
    assert read(VALUES).to_json() == GOOD.to_json()


def test_a_beam_decoder_may_be_there_or_not():
    """A bundle of before beam search is read, and one with it is."""
    with_beams = edited("graphs/beam_decoder", VALUES["graphs"]["decoder"])
    assert read(with_beams).graphs["beam_decoder"] == GOOD.graphs["decoder"]
    assert "beam_decoder" not in read(VALUES).graphs
    outside = VALUES["graphs"]["decoder"] | {"file": "other.onnx"}
    message = "graphs.beam_decoder.file: expected a file that files lists, found 'other.onnx'"
    with pytest.raises(BundleError, match=message):
        read(edited("graphs/beam_decoder", outside))


def test_an_eos_is_forced_only_where_a_manifest_says_so():
    assert not read(VALUES).generation.forces_eos
    assert read(edited("generation/forces_eos", True)).generation.forces_eos
    values = copy.deepcopy(VALUES)
    del values["generation"]["forces_eos"]
    assert read(values) == GOOD


def test_json_keys_are_the_frozen_ones_of_schema_version_1():
    top = "schema_version kind name precision architecture languages task source quantization graphs state generation"
    assert set(VALUES) == set(
        f"{top} tokenizer shortlist self_check measured created_by files chat language_tokens".split()
    )
    state = "name past present dtype shape kind batch_axis growth_axis capacity initial"
    assert set(VALUES["state"][0]) == set(state.split())
    assert VALUES["files"]["encoder.onnx"] == {"size_bytes": 253, "sha256": "0123456789abcdef" * 4}
    assert VALUES["graphs"]["encoder"]["inputs"] == [
        {"name": "input_ids", "dtype": "int64", "shape": ["batch", "source_length"]}
    ]


def test_json_is_sorted_indented_and_ends_in_a_newline():
    text = GOOD.to_json()
    assert text == json.dumps(VALUES, sort_keys=True, indent=2) + "\n"


def test_text_that_is_not_ascii_is_written_as_it_is():
    manifest = dataclasses.replace(GOOD, name="português")
    assert '"português"' in manifest.to_json()
    assert Manifest.from_json(manifest.to_json(), "m").name == "português"


def test_keys_that_this_version_does_not_know_are_ignored_at_every_level():
    values = edited("a_later_key", {"x": [1]})
    values["generation"]["beam_size"] = 4
    values["state"][0]["note"] = None
    assert read(values) == GOOD


@pytest.mark.parametrize(("version", "shown"), [(7, "7"), (0, "0"), ("1", "'1'"), (True, "True"), (None, "None")])
def test_another_schema_version_is_named_before_anything_else(version, shown):
    message = (
        rf"^m/bundle.json: this bundle has schema version {shown}; this edgekit reads 1; upgrade edgekit or export"
    )
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(json.dumps({"schema_version": version, "kind": 3}), "m/bundle.json")


def test_missing_schema_version_is_said():
    with pytest.raises(BundleError, match="this bundle has schema version none; this edgekit reads 1"):
        Manifest.from_json("{}", "m/bundle.json")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kind", "diffusion", "kind: expected seq2seq or causal-lm, found 'diffusion'"),
        ("name", "", "name: expected a text, found ''"),
        ("precision", "int3", "precision: expected int8 or int4 or fp32, found 'int3'"),
        ("architecture", [], "architecture: expected an object, found a list of 0"),
        ("languages/source", 3, "languages.source: expected a text, found 3"),
        ("source/type", "ftp", "source.type: expected embedded or hub or pypi or registry or local, found 'ftp'"),
        ("source/files", {"a": 1}, "source.files: expected an object whose values are texts"),
        ("quantization/scheme", "fp32", "quantization.scheme: expected int8 like precision, found fp32"),
        (
            "quantization/tensors/embedding/dtype",
            "int3",
            "tensors.embedding.dtype: expected int8 or uint8 or uint4, found 'int3'",
        ),
        (
            "graphs/encoder/file",
            "../encoder.onnx",
            "graphs.encoder.file: expected the plain name of a file in the bundle",
        ),
        ("graphs/encoder/file", "tokenizer.json", "graphs.encoder.file: expected a name that ends in .onnx"),
        ("graphs/encoder/inputs", [], "graphs.encoder.inputs: expected at least one, found none"),
        ("graphs/encoder/inputs", [3], "graphs.encoder.inputs: expected a list of objects, found a list of 1"),
        ("graphs/decoder/inputs/0/name", "past_state_0", "inputs: expected each name once, found 'past_state_0' twice"),
        (
            "graphs/decoder/inputs/1/dtype",
            "float16",
            "dtype: expected int64 or int32 or float32 or bool or uint8 or int8",
        ),
        ("graphs/decoder/inputs/1/shape", ["batch", -1], "shape: expected a shape of at most 8 sizes or axis names"),
        ("graphs/decoder/inputs/1/shape", [1 << 20, 1 << 20], "axis names and 16777216 elements, found a list of 2"),
        ("graphs/decoder/inputs/1/shape", ["batch", True], "shape: expected a shape of at most 8"),
        (
            "graphs/model",
            {"file": "m.onnx", "inputs": [], "outputs": []},
            "graphs: expected encoder and decoder, found",
        ),
        ("state/1/past", "elsewhere", r"state\[1\]: expected 'elsewhere' among the decoder inputs, found none"),
        ("state/1/present", "elsewhere", r"state\[1\]: expected 'elsewhere' among the decoder outputs, found none"),
        ("state/1/present", None, r"state\[1\]: expected a present for the recurrent state, found null"),
        ("state/1/dtype", "int64", "'past_state_0' to be int64 with 2 axes, found float32 with 2"),
        ("state/1/name", "memory_0", "state: expected each name once, found 'memory_0' twice"),
        ("state/1/initial", "encoder", r"state\[1\]: expected 'past_state_0' among the encoder outputs, found none"),
        ("state/1/initial", "empty", "expected initial empty for an appended state only, found kind recurrent"),
        ("state/1/growth_axis", 1, "expected a growth_axis for an appended state only, found kind recurrent"),
        ("state/1/batch_axis", 2, "expected a batch_axis below the 2 axes of its shape, found 2"),
        ("state/0/initial", "zeros", "expected a constant state to come from the encoder and to have no present"),
        ("generation/max_length", 0, "generation.max_length: expected an integer from 1 to 1048576, found 0"),
        ("generation/max_length", 10**18, "generation.max_length: expected an integer from 1 to 1048576"),
        ("generation/max_length", True, "generation.max_length: expected an integer from 1 to 1048576, found True"),
        ("generation/forces_eos", 1, "generation.forces_eos: expected true or false, found 1"),
        ("generation/max_length_factor", 0, "generation.max_length_factor: expected a number above 0, found 0"),
        ("generation/eos_token_id", 6, r"generation.eos_token_id: expected ids below 6 \(from the vocabulary's size\)"),
        ("generation/start_token_id", 7, "generation.start_token_id: expected ids below 7"),
        ("generation/start_token_id", None, "generation.start_token_id: expected an integer from 0"),
        ("self_check/output_ids", [1] * 1025, "self_check.output_ids: expected at most 1024 ids, found 1025"),
        ("self_check/output_ids", [1, 99], "self_check.output_ids: expected ids below 6"),
        ("self_check/input_ids", [1.0], "self_check.input_ids: expected a list of integers from 0, found a list of 1"),
        ("tokenizer/source", "/etc/passwd", "tokenizer.source: expected the plain name of a file in the bundle"),
        ("tokenizer/source", "other.json", "tokenizer.source: expected a file that files lists, found 'other.json'"),
        ("shortlist/file", "missing.npz", "shortlist.file: expected a file that files lists, found 'missing.npz'"),
        ("shortlist/first", 7, "shortlist.first: expected at most 6 target tokens, found 7"),
        ("files/encoder.onnx/size_bytes", -1, "files.encoder.onnx.size_bytes: expected an integer from 0 to"),
        ("files/encoder.onnx/sha256", "AB" * 32, "sha256: expected a SHA-256 of 64 lower-case hexadecimal digits"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(path, value, message):
    with pytest.raises(BundleError, match=message):
        read(edited(path, value))


def test_axis_shared_by_batch_and_growth_is_refused():
    values = edited("state/1/kind", "appended")
    values["state"][1] |= {"initial": "empty", "growth_axis": 0}
    with pytest.raises(BundleError, match="expected different batch_axis and growth_axis, found 0 twice"):
        read(values)


def test_fp32_may_have_tensors_that_its_checkpoint_shipped_quantised():
    values = edited("precision", "fp32")
    values["quantization"]["scheme"] = "fp32"
    assert len(read(values).quantization.tensors) == 1


def test_start_token_may_be_the_row_of_zeros_behind_the_vocabulary():
    assert read(edited("generation/start_token_id", 6)).generation.start_token_id == 6


HOSTILE_NAMES = [
    "../weights", "..", ".", "/etc/passwd", "a/b", "a\\b", "C:evil", "C:\\evil", "nul", "COM1.onnx", ".hidden", "-o",
    "bundle.json", "BUNDLE.JSON", "trailing.", "", "x" * 200, "name with space", "weights\u2024bin",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_files_lists_plain_names_only(name):
    with pytest.raises(BundleError, match=r"files: expected plain file names, found"):
        read(_with_file(name))


def _with_file(name):
    values = copy.deepcopy(VALUES)
    values["files"][name] = {"size_bytes": 1, "sha256": "0" * 64}
    return values


def test_names_that_differ_by_case_only_are_refused():
    with pytest.raises(BundleError, match=r"expected names that differ by more than case, found 'encoder.onnx' twice"):
        read(_with_file("Encoder.onnx"))


def test_all_problems_come_in_one_line_and_a_long_list_is_cut():
    values = edited("kind", 1)
    values["generation"] = {}
    with pytest.raises(BundleError) as caught:
        read(values)
    message = str(caught.value)
    assert "kind: expected seq2seq or causal-lm, found 1; generation.start_token_id: expected" in message
    assert message.endswith("upgrade edgekit if the bundle is newer")
    assert "\n" not in message
    values["state"] = [{}] * 1000
    with pytest.raises(BundleError, match=r"; and \d{4} more; export the model again") as caught:
        read(values)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected JSON, found at line 1 column 1: Expecting value"),
        ("[]", "expected a JSON object, found a list of 0"),
        ('{"a": 1, "a": 2}', "expected each key once, found 'a' twice"),
        ('{"a": NaN}', "expected finite numbers, found NaN"),
        ('{"a": -Infinity}', "expected finite numbers, found -Infinity"),
        ('{"a": 1e999}', "expected finite numbers, found one that is too large"),
        ('{"a": 1' + "0" * 5000 + "}", "expected integers of at most 20 digits, found 5001"),
        ('{"a": "\\u001b[2J"}', r"expected printable text, found '\\x1b\[2J'"),
        ('{"a\\u0000": 1}', r"expected printable text, found 'a\\x00'"),
        ('{"a": "\\ud800"}', r"expected printable text, found '\\ud800'"),
        ('{"a": "\\u202e"}', r"expected printable text, found '\\u202e'"),
        ('{"a": ' + "[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH + "}", "expected JSON nested at most 24 deep"),
        ('{"a": ' + "[" * 100_000, "expected JSON nested at most 24 deep"),
        (" " * (MAX_JSON_BYTES + 1), f"expected at most {MAX_JSON_BYTES} bytes"),
    ],
    ids=range(14),
)
def test_text_that_is_no_sane_json_is_refused(text, message):
    with pytest.raises(BundleError, match=rf"^m/bundle.json: {message}.*; export the model again$"):
        Manifest.from_json(text, "m/bundle.json")


def test_a_manifest_full_of_repetitions_is_refused():
    values = copy.deepcopy(VALUES)
    values["state"] = [VALUES["state"][1]] * 8_000
    values["graphs"]["decoder"]["inputs"] = [VALUES["graphs"]["decoder"]["inputs"][1]] * 8_000
    with pytest.raises(BundleError, match="expected each name once"):
        read(values)


def _paths(value, path=()):
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _paths(value[key], (*path, key))


PATHS = [path for path in _paths(VALUES) if path]
REPLACEMENTS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(HOSTILE_NAMES),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(PATHS), st.one_of(st.just("delete"), REPLACEMENTS)), min_size=1, max_size=4))
def test_a_mutated_manifest_gives_a_manifest_or_a_bundle_error(mutations):
    values = copy.deepcopy(VALUES)
    for path, value in mutations:
        place = values
        try:
            for key in path[:-1]:
                place = place[key]
            if value == "delete":
                del place[path[-1]]
            else:
                place[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier mutation has removed this place
    _read_or_refuse(json.dumps(values))


@given(st.integers(0, len(GOOD.to_json()) - 1), st.text(max_size=3), st.integers(0, 40))
def test_a_damaged_text_gives_a_manifest_or_a_bundle_error(position, inserted, removed):
    text = GOOD.to_json()
    _read_or_refuse(text[:position] + inserted + text[position + removed :])


def _read_or_refuse(text):
    try:
        manifest = Manifest.from_json(text, "m/bundle.json")
    except BundleError as error:
        message = str(error)
    else:
        assert Manifest.from_json(manifest.to_json(), "m/bundle.json") == manifest
        return
    assert message.isprintable()
    assert len(message) < 2000
