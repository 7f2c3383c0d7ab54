import gzip

import pytest

from edgekit.errors import SourceError
from edgekit.export.sources.gzip_file import is_gzip, unpack_gzip

BODY = bytes(range(256)) * 1024  # 256 KiB


def test_gzip_unpacks_whole(tmp_path):
    (tmp_path / "f.gz").write_bytes(gzip.compress(BODY))
    unpack_gzip(tmp_path / "f.gz", tmp_path / "f", len(BODY))
    assert is_gzip(tmp_path / "f.gz")
    assert not is_gzip(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (gzip.compress(BODY), "f.gz unpacks to more than 262,143 bytes"),
        (gzip.compress(bytes(50_000_000)), "f.gz unpacks to more than 262,143 bytes"),
        (gzip.compress(BODY[:1000])[:-9], "f.gz is not a whole gzip file"),
        (gzip.compress(b"x")[:-8] + bytes(8), "f.gz is not a whole gzip file"),
        (b"plain", "f.gz is not a whole gzip file"),
    ],
    ids=["one byte over", "bomb", "cut", "wrong checksum", "not gzip"],
)
def test_gzip_that_is_broken_or_too_long_leaves_nothing(tmp_path, packed, message):
    (tmp_path / "f.gz").write_bytes(packed)
    with pytest.raises(SourceError, match=message):
        unpack_gzip(tmp_path / "f.gz", tmp_path / "f", len(BODY) - 1)
    assert [path.name for path in tmp_path.iterdir()] == ["f.gz"]
