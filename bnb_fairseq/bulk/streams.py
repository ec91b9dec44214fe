"""Files, pipes and terminals that lines are read from and written to, compressed by the ending of their names."""

import bz2
import gzip
import lzma
import os
import select
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from ..checkpoints.writing import staging

CHUNK = 1 << 16  # bytes; what a pipe holds on Linux
PATIENCE = 5  # milliseconds that a writer has for its next line before those that wait are translated
STANDARD_INPUT, STANDARD_OUTPUT = 0, 1
ENDINGS = (".gz", ".bz2", ".xz", ".zst")
GZIP_LEVEL = 6  # the program's; the module's 9 takes several times as long and saves 1%


def missing_package(path: Path) -> str | None:
    """Return the package that a file needs and that is not installed; None if there is none."""
    if path.suffix == ".zst":
        try:
            import zstandard  # noqa: F401
        except ImportError:
            return "zstandard"
    return None


class Input:
    """Bytes that are read: a ``Source``.

    Args:
        name: what to call it in an error.
        file: an open file, without buffer if it is not compressed.
        ending: how it is compressed, one of ``ENDINGS``; else it is not.
    """

    def __init__(self, name: str, file: IO[bytes], ending: str = "") -> None:
        self._name, self._file, self._ending = name, file, ending
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)

    def chunks(self) -> Iterator[bytes]:
        """Return the bytes in order, decompressed.

        Yields:
            bytes: Some, or none.

        Raises:
            ValueError: if the file cannot be read, or is damaged.
        """
        try:
            yield from self._read()
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise ValueError(f"{self._name} cannot be read: {error}") from error

    def _read(self) -> Iterator[bytes]:
        if self._ending == ".zst":
            return _decompress_zstd(self._file)
        if self._ending not in ENDINGS:
            return iter(self._read_descriptor, b"")
        modules: dict[str, Any] = {".gz": gzip, ".bz2": bz2, ".xz": lzma}
        stream = modules[self._ending].open(self._file)
        return iter(lambda: stream.read1(CHUNK), b"")

    def _read_descriptor(self) -> bytes:
        self._poll.poll()  # waits where another process made the descriptor non-blocking
        return os.read(self._file.fileno(), CHUNK)

    def is_ready(self) -> bool:
        """Return whether the next chunk is there, or will be in a moment; of a compressed file it is."""
        return self._ending in ENDINGS or bool(self._poll.poll(PATIENCE))

    def is_terminal(self) -> bool:
        """Return whether somebody types."""
        return self._file.isatty()

    def count_lines(self) -> int | None:
        """Count the lines that are still to be read; None if that would consume them, or take decompression."""
        descriptor = self._file.fileno()
        if self._ending in ENDINGS or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        place, lines, last = os.lseek(descriptor, 0, os.SEEK_CUR), 0, b"\n"
        while chunk := os.pread(descriptor, CHUNK, place):
            place, lines, last = place + len(chunk), lines + chunk.count(b"\n"), chunk
        return lines + (not last.endswith(b"\n"))


def _decompress_zstd(file: IO[bytes]) -> Iterator[bytes]:
    """Decompress all frames of a file; zstandard's own reader takes a cut-off one for whole."""
    import zstandard

    compressed, whole = file.read(CHUNK), True
    frame = zstandard.ZstdDecompressor().decompressobj()
    while compressed:
        try:
            chunk = frame.decompress(compressed)
        except zstandard.ZstdError as error:
            raise OSError(error) from error
        whole, compressed = frame.eof, frame.unused_data
        if whole:
            frame = zstandard.ZstdDecompressor().decompressobj()
        yield chunk
        compressed = compressed or file.read(CHUNK)
    if not whole:
        raise EOFError("the compressed file ends in the middle of a frame")


@contextmanager
def open_input(path: Path | None) -> Iterator[Input]:
    """Open what is to be read.

    Args:
        path: the file; None: standard input, which is not decompressed.

    Yields:
        The input.

    Raises:
        ValueError: if the file cannot be opened.
    """
    if path is None:
        with open(STANDARD_INPUT, "rb", buffering=0, closefd=False) as file:
            yield Input("standard input", file)
        return
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise ValueError(f"--input cannot be read: {error}") from error
    with file:
        yield Input(f"--input {path}", file, path.suffix)


class Output:
    """Lines that are written.

    Args:
        name: what to call it in an error.
        stream: where they go.
        flushes: whether somebody may be waiting for each of them.
    """

    def __init__(self, name: str, stream: IO[bytes], flushes: bool) -> None:
        self._name, self._stream, self._flushes = name, stream, flushes

    def write(self, lines: Iterable[str]) -> None:
        """Write lines, which have no line end.

        Args:
            lines: some.

        Raises:
            BrokenPipeError: if nobody reads them.
            OSError: if there is no room for them.
        """
        with self._naming():
            self._stream.write("".join(f"{line}\n" for line in lines).encode())
            if self._flushes:
                self._stream.flush()

    def close(self) -> None:
        """End the stream, see ``write``."""
        with self._naming():
            self._stream.close()

    def is_terminal(self) -> bool:
        """Return whether somebody sees the lines as they come."""
        return self._flushes and self._stream.isatty()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OSError(f"{self._name} cannot be written: {error}") from error


@contextmanager
def open_output(path: Path | None) -> Iterator[Output]:
    """Open what is to be written.

    Args:
        path: the file, which is complete or not there, and until then the old one; None: standard output. Devices and
            named pipes are written at once.

    Yields:
        The output. It is flushed after each writing unless it is a file.

    Raises:
        OSError: if there is no room, or nothing may be written there.
    """
    if path is None:
        opened = Output("standard output", open(STANDARD_OUTPUT, "wb", closefd=False), True)  # noqa: SIM115
    elif path.exists() and not path.is_file():
        opened = Output(f"--output {path}", _compress(path, path.suffix), True)
    else:
        with _staged(path) as opened:
            yield opened
        return
    with _closing(opened):
        yield opened


@contextmanager
def _closing(opened: Output) -> Iterator[None]:
    """End an output; where something went wrong before, that is the error."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            opened.close()
        raise
    opened.close()


@contextmanager
def _staged(path: Path) -> Iterator[Output]:
    """Write a file beside the one that it becomes."""
    goal, error = path.resolve(), None  # what a link points to is replaced, not the link
    with staging(goal.parent) as lent:
        try:
            opened = Output(f"--output {path}", _compress(lent / goal.name, path.suffix), False)
            with _closing(opened):
                yield opened
        except (OSError, RuntimeError) as raised:  # of whatever kind, which `staging` would take for a full disk
            (lent / goal.name).unlink(missing_ok=True)
            error = raised
    if error is not None:
        raise error


def _compress(path: Path, ending: str) -> IO[bytes]:
    """Open a file to write; the same text gives the same bytes."""
    if ending == ".zst":
        import zstandard

        return zstandard.open(path, "wb")
    if ending == ".gz":
        return cast(IO[bytes], gzip.GzipFile(filename=path, mode="wb", compresslevel=GZIP_LEVEL, mtime=0))
    if ending == ".bz2":
        return bz2.open(path, "wb")
    if ending == ".xz":
        return lzma.open(path, "wb")
    return path.open("wb")
