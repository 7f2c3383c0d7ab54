import time

import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgekit.bundle.onnx_scan import ExternalData, check_external_data, scan_external_data
from edgekit.errors import BundleError
from tests.bundle.tiny_bundle import encoder_model, external_tensor

GOOD = encoder_model().SerializeToString()


def field(number, payload):
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value):
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def model_of_tensor(tensor_bytes):
    """ModelProto.graph.initializer."""
    return field(7, field(5, tensor_bytes))


def everywhere_model():
    """One external tensor in each place where ONNX allows one, named after the place."""

    def tensor(name):
        return external_tensor(name, [2], location=f"{name}.bin", offset=4, length=8)

    def sparse(name):
        return onnx.SparseTensorProto(values=tensor(f"{name}_values"), indices=tensor(f"{name}_indices"), dims=[2])

    def graph(name, nodes=()):
        return onnx.GraphProto(name=name, node=nodes, initializer=[tensor(name)], sparse_initializer=[sparse(name)])

    attributes = [
        onnx.AttributeProto(name="t", type=onnx.AttributeProto.TENSOR, t=tensor("attribute")),
        onnx.AttributeProto(name="ts", type=onnx.AttributeProto.TENSORS, tensors=[tensor("first"), tensor("second")]),
        onnx.AttributeProto(name="s", type=onnx.AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse("sparse")),
        onnx.AttributeProto(name="ss", type=onnx.AttributeProto.SPARSE_TENSORS, sparse_tensors=[sparse("sparses")]),
        onnx.AttributeProto(name="g", type=onnx.AttributeProto.GRAPH, g=graph("branch")),
        onnx.AttributeProto(name="gs", type=onnx.AttributeProto.GRAPHS, graphs=[graph("one"), graph("two")]),
    ]
    body = onnx.NodeProto(op_type="X", attribute=attributes)
    inner = onnx.NodeProto(op_type="Constant", attribute=[onnx.AttributeProto(name="value", t=tensor("in_function"))])
    function = onnx.FunctionProto(
        name="f", node=[inner], attribute_proto=[onnx.AttributeProto(name="default", t=tensor("default"))]
    )
    training = onnx.TrainingInfoProto(initialization=graph("initialization"), algorithm=graph("algorithm"))
    return onnx.ModelProto(
        ir_version=10, graph=graph("main", [body]), functions=[function], training_info=[training]
    ).SerializeToString()


def test_external_data_is_found_in_every_place_that_onnx_has():
    graphs = ["main", "branch", "one", "two", "initialization", "algorithm"]
    sparse = [f"{name}_{part}" for name in [*graphs, "sparse", "sparses"] for part in ("values", "indices")]
    names = [*graphs, *sparse, "attribute", "first", "second", "in_function", "default"]
    assert sorted(scan_external_data(everywhere_model())) == sorted(
        ExternalData(name, f"{name}.bin", 4, 8) for name in names
    )


def test_tensors_that_hold_their_own_values_are_not_reported():
    graph = helper.make_graph([], "g", [], [], [helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])])
    assert scan_external_data(helper.make_model(graph).SerializeToString()) == []


def test_missing_offset_and_length_mean_the_whole_file():
    model = helper.make_model(helper.make_graph([], "g", [], [], [external_tensor("w", [1], location="w.bin")]))
    assert scan_external_data(model.SerializeToString()) == [ExternalData("w", "w.bin", 0, None)]


def test_subgraphs_nested_thirty_deep_are_walked():
    graph = onnx.GraphProto(name="g", initializer=[external_tensor("deep", [1], location="w.bin")])
    for _ in range(30):  # graph, node and attribute: three messages a level
        attribute = onnx.AttributeProto(name="body", type=onnx.AttributeProto.GRAPH, g=graph)
        graph = onnx.GraphProto(name="g", node=[onnx.NodeProto(op_type="If", attribute=[attribute])])
    data = onnx.ModelProto(graph=graph).SerializeToString()
    assert [reference.tensor for reference in scan_external_data(data)] == ["deep"]


def test_endless_nesting_is_refused():
    graph = b""
    for _ in range(500):
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(ValueError, match="expected messages nested at most 100 deep"):
        scan_external_data(field(7, graph))


def external(*entries, extra=b""):
    pairs = b"".join(field(13, field(1, key) + field(2, value)) for key, value in entries)
    return model_of_tensor(field(8, b"w") + pairs + varint(14 << 3) + b"\x01" + extra)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found no graph"),
        (b"\x08\x0a", "found no graph"),
        (b"not a model at all", "found protobuf wire type 6 at byte 0"),
        (b"\x3a\x7f\x00", "found a broken or truncated field before byte"),
        (b"\x3a", "found a truncated number at byte 1"),
        (b"\x3a" + b"\xff" * 12, "found a truncated number at byte 1"),
        (b"\x00\x00", "found a broken or truncated field before byte 2"),
        (b"\x0b\x0c", "found protobuf wire type 3 at byte 0"),
        (b"\x09\x00", "found a broken or truncated field before byte 9"),
        (b"\x18\x00\x00\x00ORTM" + bytes(40), "found onnxruntime's own format"),
        (GOOD + GOOD, "expected field 7 of ModelProto once, found it twice"),
        (external(), "expected a location for the external data of tensor 'w', found none"),
        (external((b"offset", b"0")), "expected a location for the external data of tensor 'w', found none"),
        (external((b"location", b"a"), (b"location", b"b")), "found external data key b'location'"),
        (external((b"location", b"a"), (b"prepacked_0", b"b")), "found external data key b'prepacked_0'"),
        (external((b"location", b"\xff\xfe")), "expected a file name for tensor 'w', found bytes that are not UTF-8"),
        (external((b"location", b"a" * 5000)), "expected a key and a value in external data, found something else"),
        (external((b"location", b"a"), (b"offset", b"-8")), "a whole number as offset of tensor 'w', found b'-8'"),
        (external((b"location", b"a"), (b"offset", b"0x10")), "a whole number as offset of tensor 'w', found b'0x10'"),
        (external((b"location", b"a"), (b"length", b"9" * 30)), "a whole number as length of tensor 'w', found b'999"),
        (external((b"location", b"a"), (b"length", "٣".encode())), "a whole number as length of tensor 'w', found"),
        (external((b"location", b"a"), extra=field(13, field(1, b"x") * 2)), "expected a key and a value in external"),
    ],
    ids=range(22),
)
def test_what_is_no_sane_model_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        scan_external_data(data)


def test_a_flood_of_fields_is_refused_in_seconds():
    began = time.perf_counter()
    with pytest.raises(ValueError, match="expected at most 1000000 fields"):
        scan_external_data(field(7, field(1, b"") * 3_000_000))
    assert time.perf_counter() - began < 15


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=4), st.integers(0, 8))
def test_a_damaged_model_gives_references_or_a_value_error(position, inserted, removed):
    try:
        references = scan_external_data(GOOD[:position] + inserted + GOOD[position + removed :])
    except ValueError as error:
        message = str(error)
    else:
        assert all(isinstance(reference, ExternalData) for reference in references)
        return
    assert message.isprintable()


def _locations(message):
    """Every external location that protobuf's own reader sees in a message."""
    if isinstance(message, onnx.TensorProto):
        yield from (entry.value for entry in message.external_data if entry.key == "location")
    for descriptor, value in message.ListFields():
        if descriptor.type == descriptor.TYPE_MESSAGE:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _locations(inner)


EVERYWHERE = everywhere_model()


@given(st.integers(0, len(EVERYWHERE) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_nothing_that_protobuf_finds_in_a_damaged_model_is_overlooked(position, inserted, removed):
    data = EVERYWHERE[:position] + inserted + EVERYWHERE[position + removed :]
    try:
        found = {reference.location for reference in scan_external_data(data)}
        model = onnx.ModelProto.FromString(data)
    except (ValueError, DecodeError):
        return
    assert set(_locations(model)) <= found


@given(st.binary(max_size=200))
def test_any_bytes_give_references_or_a_value_error(data):
    try:
        scan_external_data(field(7, data))
    except ValueError as error:
        message = str(error)
    else:
        return
    assert message.isprintable()


@pytest.mark.parametrize("cut", range(1, len(GOOD) - 40, 7))
def test_a_model_that_is_cut_off_is_refused(cut):
    # opset_import may follow the graph; without it nothing here is missing, so cuts stop short of it.
    with pytest.raises(ValueError, match="expected an ONNX model, found"):
        scan_external_data(GOOD[:cut])


SIZES = {"encoder.onnx": len(GOOD), "weights.safetensors": 177}


def check(tmp_path, **entries):
    path = tmp_path / "encoder.onnx"
    path.write_bytes(encoder_model(**entries).SerializeToString())
    check_external_data(path, SIZES)


def test_external_data_within_a_listed_file_passes(tmp_path):
    check(tmp_path)
    check(tmp_path, offset=81, length=96)


@pytest.mark.parametrize(
    "location",
    ["../../etc/passwd", "/etc/passwd", "other.bin", "./weights.safetensors", "sub/../weights.safetensors",
     "bundle.json", "C:\\weights", "*/_ORT_MEM_ADDR_/*", "encoder.onnx", "weights.safetensors\0"],
)  # fmt: skip
def test_a_location_that_is_no_listed_file_is_refused(tmp_path, location):
    with pytest.raises(BundleError, match="expected tensor 'embedding' in a file of the bundle, found location"):
        check(tmp_path, location=location)


@pytest.mark.parametrize(("offset", "length"), [(82, 96), (177, 1), (178, 0), (0, 178), (2**59, 96), (96, 2**59)])
def test_a_range_beyond_its_file_is_refused(tmp_path, offset, length):
    message = f"within the 177 bytes of weights.safetensors, found offset {offset} and length {length}; export"
    with pytest.raises(BundleError, match=message):
        check(tmp_path, offset=offset, length=length)


def test_a_missing_graph_is_a_bundle_error(tmp_path):
    with pytest.raises(BundleError, match=r"expected an ONNX graph, found No such file or directory; export"):
        check_external_data(tmp_path / "encoder.onnx", SIZES)
