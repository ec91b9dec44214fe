"""Files that are read and written, compressed or not."""

import bz2
import gzip
import lzma
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from bnb_fairseq.bulk import streams
from bnb_fairseq.bulk.lines import windows
from bnb_fairseq.bulk.streams import open_input, open_output

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".txt": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
TEXT = b"".join(b"%d %s\n" % (i, random.Random(i).randbytes(20).hex().encode()) for i in range(20_000))
ENDINGS = pytest.mark.parametrize("ending", COMPRESS)


def read(path: Path) -> bytes:
    with open_input(path) as source:
        return b"".join(source.chunks())


@ENDINGS
def test_reading(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"text{ending}"
    path.write_bytes(COMPRESS[ending](TEXT))
    assert read(path) == TEXT
    with open_input(path) as source:
        assert source.is_ready()
        assert source.count_lines() == (20_000 if ending == ".txt" else None)
        assert sum(map(len, windows(source, 1000))) == 20_000


@ENDINGS
def test_files_one_after_another(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"text{ending}"
    path.write_bytes(COMPRESS[ending](b"") + COMPRESS[ending](TEXT) + COMPRESS[ending](b"end"))
    assert read(path) == TEXT + b"end"


@ENDINGS
def test_nothing_in_it(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"text{ending}"
    path.write_bytes(COMPRESS[ending](b""))
    assert read(path) == b""


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_damaged_files(ending: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / f"text{ending}"
    path.write_bytes(COMPRESS[ending](TEXT)[:-1000] if damage == "cut" else TEXT)
    with pytest.raises(ValueError, match=rf"^--input .*text{ending} cannot be read: .") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_counting_leaves_the_place_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"a\nb\nc")
    with path.open("rb", buffering=0) as file:
        file.read(2)
        source = streams.Input("x", file)
        assert source.count_lines() == 2
        assert b"".join(source.chunks()) == b"b\nc"
        assert source.count_lines() == 0


@ENDINGS
def test_writing(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{ending}"
    path.write_bytes(b"old")
    for name in (path, tmp_path / f"more{ending}"):
        with open_output(name) as output:
            output.write(["ä", ""])
            output.write([])
            output.write(["b" * 100_000])
            assert path.read_bytes() == b"old" or name != path
    assert read(path).decode() == "ä\n\n" + "b" * 100_000 + "\n"
    names = sorted(tmp_path.iterdir())
    assert len(names) == 2
    if ending == ".gz":
        subprocess.run(["gzip", "--test", path], check=True)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("out of memory"), OSError("no model"), KeyError(1)]
)
def test_no_half_file_and_the_error_as_it_was(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "out.gz"
    with pytest.raises(type(error)) as caught, open_output(path) as output:
        output.write(["a"])
        raise error
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file.gz").write_bytes(b"old")
    (tmp_path / "link").symlink_to("folder/file.gz")
    with open_output(tmp_path / "link") as output:
        output.write(["new"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file.gz").read_bytes() == b"new\n"


def test_a_pipe_with_a_name_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open_output(path) as output:
        output.write(["a"])
        assert os.read(reader, 100) == b"a\n"
    os.close(reader)
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]
