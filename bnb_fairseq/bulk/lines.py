"""Lines of text from bytes: what ends a line, what may stand in one, and how many are translated at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

LINE_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # where str.splitlines and some editors break a line
SPACES = dict.fromkeys(map(ord, LINE_BREAKS), " ")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def on_one_line(text: str) -> str:
    """Replace each character that breaks a line for some reader by a space."""
    return text.translate(SPACES)


class Source(Protocol):
    """A source of bytes."""

    def chunks(self) -> Iterable[bytes]:
        """Return the bytes in order, in chunks."""

    def is_ready(self) -> bool:
        """Return whether the next chunk, or the end, is there without waiting."""


def windows(source: Source, size: int) -> Iterator[list[bytes]]:
    r"""Read lines in windows: as many as are there, so that a slow writer gets its answers.

    Args:
        source: where they come from.
        size: largest number of lines in a window.

    Yields:
        list[bytes]: At least one line, without its line end, ``\n`` or ``\r\n``. Bytes behind the last line end are a
            line, too.
    """
    waiting: list[bytes] = []
    unfinished: list[bytes] = []  # parts of a line
    for chunk in source.chunks():
        *ended, last = chunk.split(b"\n")
        if ended:
            ended[0] = b"".join([*unfinished, ended[0]])
            unfinished.clear()
            waiting += [line.removesuffix(b"\r") for line in ended]
        unfinished.append(last)
        full = len(waiting) // size * size
        yield from (waiting[i : i + size] for i in range(0, full, size))
        del waiting[:full]
        if waiting and not source.is_ready():
            yield waiting
            waiting = []
    if rest := b"".join(unfinished):
        waiting.append(rest)
    if waiting:
        yield waiting


@dataclass
class Decoder:
    """Turns lines into text, and counts what is not UTF-8.

    Attributes:
        broken: sequences of bytes that were replaced by U+FFFD.
        broken_lines: lines that had some.
    """

    broken: int = 0
    broken_lines: int = 0

    def decode(self, line: bytes) -> str:
        """Return the text of a line, on one line for every reader."""
        try:
            return on_one_line(line.decode())
        except UnicodeDecodeError:
            text = line.decode(errors="replace")
        self.broken += text.count(REPLACEMENT) - line.count(REPLACEMENT.encode())
        self.broken_lines += 1
        return on_one_line(text)
