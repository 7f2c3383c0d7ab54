"""A bundle as one file: the same bytes each time, read in place, and everything that is wrong refused in one line."""

import contextlib
import io
import random
import shutil
import zipfile

import onnx
import pytest

from edgekit.bundle.onnx_relocate import read_packed_graph, relocate_external_data
from edgekit.bundle.onnx_scan import scan_external_data
from edgekit.bundle.pack import pack_bundle, unpack_bundle
from edgekit.bundle.read import open_bundle, verify_bundle
from edgekit.bundle.single_file import ALIGNMENT, read_entries
from edgekit.cache import find_bundle
from edgekit.errors import BundleError, EdgekitError, ModelNotFoundError, OutputError
from edgekit.runtime.session import create_session
from tests.bundle.tiny_bundle import build_tiny_bundle, encoder_model


@pytest.fixture
def directory(tmp_path):
    return build_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def packed(directory, tmp_path):
    return pack_bundle(directory, tmp_path / "tiny.edgekit")


def test_a_packed_bundle_has_the_directorys_manifest_and_files(directory, packed):
    bundle = open_bundle(packed)
    assert bundle.manifest == open_bundle(directory).manifest
    assert bundle.path == packed.resolve()
    for name in bundle.manifest.files:
        with bundle.file(name).open("rb") as file:
            assert file.read() == (directory / name).read_bytes()


def test_the_same_bundle_gives_the_same_bytes(directory, packed, tmp_path):
    again = pack_bundle(packed, tmp_path / "again.edgekit")
    shutil.copytree(directory, tmp_path / "copy")
    copy = pack_bundle(tmp_path / "copy", tmp_path / "copy.edgekit")
    assert packed.read_bytes() == again.read_bytes() == copy.read_bytes()


def test_unpacking_gives_the_directory_back(directory, packed, tmp_path):
    found = unpack_bundle(packed, tmp_path / "unpacked")
    assert sorted(path.name for path in found.iterdir()) == sorted(path.name for path in directory.iterdir())
    assert all((found / path.name).read_bytes() == path.read_bytes() for path in directory.iterdir())


def test_any_zip_program_reads_it_and_every_file_is_aligned(directory, packed):
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "bundle.json"
        assert archive.read("LICENSE") == (directory / "LICENSE").read_bytes()
    assert all(entry.offset % ALIGNMENT == 0 for entry in read_entries(packed).values())


def test_onnxruntime_runs_a_graph_whose_weights_lie_in_the_packed_file(directory, packed, tmp_path):
    renamed = packed.rename(tmp_path / "renamed, with a space.bin")
    shutil.rmtree(directory)
    session = create_session(open_bundle(renamed).file("encoder.onnx"))
    (found,) = session.run(None, {"input_ids": [[1, 2]]})
    assert found.tolist() == [[[4, 5, 6, 7], [8, 9, 10, 11]]]


def test_a_packed_bundle_is_found_by_its_path_whatever_it_is_called(packed, tmp_path):
    assert find_bundle(packed) == packed
    other = packed.rename(tmp_path / "model")
    assert find_bundle(other) == other
    (tmp_path / "text.edgekit").write_text("PK")
    with pytest.raises(
        ModelNotFoundError, match=r"text\.edgekit is a file, but no packed bundle; `edgekit pack` makes"
    ):
        find_bundle(tmp_path / "text.edgekit")


def test_a_zip_archive_that_is_no_bundle_is_refused(tmp_path):
    path = tmp_path / "plain.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(BundleError, match=r"plain\.zip: expected a packed bundle, found another kind of file"):
        open_bundle(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", "{}")
    with pytest.raises(BundleError, match=r"found 'bundle\.json' in another form than stored as it is; pack or copy"):
        open_bundle(path)


def test_what_was_cut_short_is_refused(packed):
    data = packed.read_bytes()
    packed.write_bytes(data[:-100])
    with pytest.raises(BundleError, match="found another end than a packed bundle's, as if it were cut short"):
        open_bundle(packed)
    packed.write_bytes(data[:50])
    with pytest.raises(BundleError, match="cut short"):
        open_bundle(packed)


def test_a_changed_byte_is_found_by_its_files_hash(packed):
    entry = read_entries(packed)["weights.safetensors"]
    data = bytearray(packed.read_bytes())
    data[entry.offset + entry.size_bytes - 1] ^= 1
    packed.write_bytes(data)
    with pytest.raises(BundleError, match=r"tiny\.edgekit/weights\.safetensors: expected SHA-256"):
        open_bundle(packed)
    assert [check.name for check in verify_bundle(packed) if not check.ok] == ["weights.safetensors"]


def rezip(path, change, **added):
    """Writes a packed bundle anew as ``change`` has its entries, each given as (name, bytes), and ``added`` ones."""
    entries = [(name, entry.open("rb").read()) for name, entry in read_entries(path).items()]
    entries = [change(*entry) for entry in entries] + list(added.items())
    with zipfile.ZipFile(path, "w") as archive:
        end = 0
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            filling = -(end + 30 + len(name) + 4) % ALIGNMENT
            info.extra = b"\x35\xd9" + filling.to_bytes(2, "little") + bytes(filling)
            archive.writestr(info, data)
            end += 30 + len(name) + 4 + filling + len(data)
            info.extra = b""


def test_a_file_that_the_manifest_does_not_list_is_a_finding(packed):
    rezip(packed, lambda name, data: (name, data), extra=b"1")
    open_bundle(packed)  # as in a directory it does no harm
    assert [check.name for check in verify_bundle(packed) if not check.ok] == ["extra"]
    with pytest.raises(BundleError, match="expected only files that the manifest lists"):
        pack_bundle(packed, packed.with_name("again.edgekit"))


def test_a_missing_file_is_named(packed):
    rezip(packed, lambda name, data: (name.replace("LICENSE", "OTHER"), data))
    with pytest.raises(BundleError, match=r"tiny\.edgekit/LICENSE: expected a file of the bundle, found none"):
        open_bundle(packed)


def test_headers_that_disagree_are_refused(packed):
    """Another zip program could believe the entry's own header."""
    data = packed.read_bytes()
    name = data.rindex(b"LICENSE", 0, read_entries(packed)["LICENSE"].offset)
    packed.write_bytes(data[:name] + b"LICENCE" + data[name + 7 :])
    with pytest.raises(BundleError, match="found another header of 'LICENSE' than its directory says"):
        read_entries(packed)


def test_an_offset_that_is_not_aligned_is_refused(packed):
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("bundle.json"), "{}")
    with pytest.raises(BundleError, match=r"found 'bundle\.json' at byte 41, no multiple of 4096"):
        open_bundle(packed)


def test_random_damage_is_refused_or_does_no_harm(packed):
    """The zip structure is 600 bytes of the file's 28,000: half of the damage goes there."""
    data = packed.read_bytes()
    directory = data.rindex(b"PK\x01\x02") - 500
    chance = random.Random(1)
    for _ in range(80):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            start = chance.choice((0, directory))
            damaged[chance.randrange(start, len(data))] = chance.randrange(256)
        if chance.random() < 0.2:
            damaged = damaged[: chance.randrange(len(data))]
        packed.write_bytes(damaged)
        with contextlib.suppress(EdgekitError):
            assert open_bundle(packed).manifest.name == "tiny-en-de"
            assert all(check.ok for check in verify_bundle(packed))


def test_a_target_that_exists_is_replaced_only_when_told_so(directory, packed, tmp_path):
    with pytest.raises(OutputError, match=r"tiny\.edgekit: exists already; choose another output or replace it with"):
        pack_bundle(directory, packed)
    pack_bundle(directory, packed, force=True)
    with pytest.raises(OutputError, match=r"tiny: exists already; choose another output$"):
        pack_bundle(packed, directory, force=True)
    with pytest.raises(OutputError, match=r"cannot write the bundle: .*; nothing was written"):
        pack_bundle(directory, packed / "below")
    assert not list(tmp_path.glob(".*"))


def test_a_damaged_bundle_is_not_packed(directory, tmp_path):
    (directory / "LICENSE").write_text("Apache-3.0\n")
    with pytest.raises(BundleError, match="expected SHA-256"):
        pack_bundle(directory, tmp_path / "new.edgekit")
    assert not (tmp_path / "new.edgekit").exists()


def test_only_the_place_of_the_weights_changes_in_a_relocated_graph():
    model = encoder_model(length=96).SerializeToString()
    (before,) = scan_external_data(model)
    same = relocate_external_data(model, lambda found: found)
    assert scan_external_data(same) == [before]
    moved = relocate_external_data(model, lambda found: found._replace(location="x" * 300, offset=1 << 40))
    assert scan_external_data(moved) == [before._replace(location="x" * 300, offset=1 << 40)]
    relocated, original = onnx.load_from_string(moved), onnx.load_from_string(model)
    for found in (relocated, original):
        del found.graph.initializer[0].external_data[:]
    assert relocated == original


def test_weights_outside_the_bundle_or_elsewhere_than_in_initialisers_are_refused(packed):
    graph = read_entries(packed)["encoder.onnx"]

    def replace(**entries):
        model = encoder_model(**entries)
        rezip(packed, lambda name, data: (name, model.SerializeToString() if name == "encoder.onnx" else data))
        return read_entries(packed)["encoder.onnx"]

    assert b"tiny.edgekit" in read_packed_graph(graph)
    for entries in ({"location": "../secret"}, {"offset": 1 << 30}, {"length": 1 << 30}):
        with pytest.raises(BundleError, match=r"encoder\.onnx: expected tensor 'embedding' in a file of the bundle"):
            read_packed_graph(replace(**entries))
    model = encoder_model()
    attribute = model.graph.node[0].attribute.add(name="value", type=4)
    attribute.t.CopyFrom(model.graph.initializer[0])
    with pytest.raises(
        ValueError, match="expected external data of the graph's initialisers only, found some elsewhere"
    ):
        relocate_external_data(model.SerializeToString(), lambda found: found)


def test_a_packed_file_reads_as_a_file_does(packed, directory):
    expected = io.BytesIO((directory / "encoder.onnx").read_bytes())
    with read_entries(packed)["encoder.onnx"].open("rb") as file:
        for whence, offset in ((0, 10), (1, 5), (2, -7), (2, 3)):
            assert file.seek(offset, whence) == expected.seek(offset, whence)
            assert file.tell() == expected.tell()
            assert file.read(4) == expected.read(4)
        assert file.read() == b""
