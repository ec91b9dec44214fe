"""Lines from bytes, cut into chunks anywhere, in windows."""

import random
from collections.abc import Iterator, Sequence

import pytest

from bnb_fairseq.bulk.lines import LINE_BREAKS, Decoder, on_one_line, windows

PARTS = [
    b"\n",
    b"\r\n",
    b"\r",
    b"\x00",
    b"\xff",
    b"\xe2\x80",
    b"\xe2\x80\xa8",
    b"\x0b\x0c",
    b"\xc2\x85",
    b"a",
    b" ",
    b"",
]
PARTS += ["\N{REPLACEMENT CHARACTER}".encode(), "ä".encode(), b"word"]


class Chunks:
    """A source whose chunks are given; after those of ``slow`` the next is not there yet."""

    def __init__(self, chunks: Sequence[bytes], slow: Sequence[int] = ()) -> None:
        self._chunks, self._slow, self._read = chunks, slow, 0

    def chunks(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._read += 1
            yield chunk

    def is_ready(self) -> bool:
        return self._read not in self._slow


def cut(data: bytes, rng: random.Random) -> list[bytes]:
    places = sorted(rng.randrange(1, len(data)) for _ in range(rng.randint(0, 5))) if len(data) > 1 else []
    pieces = [data[i:j] for i, j in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in pieces if piece]


@pytest.mark.parametrize("seed", range(200))
def test_random_bytes_have_the_lines_that_wc_counts(seed: int) -> None:
    rng = random.Random(seed)
    data = b"".join(rng.choice(PARTS) for _ in range(rng.randint(0, 60)))
    chunks = cut(data, rng)
    size = rng.randint(1, 7)
    found = list(windows(Chunks(chunks, [i for i in range(6) if rng.random() < 0.3]), size))
    assert all(0 < len(window) <= size for window in found)
    lines = [line for window in found for line in window]
    assert len(lines) == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    whole = data.split(b"\n")
    assert lines == [line.removesuffix(b"\r") for line in whole[:-1]] + [line for line in whole[-1:] if line]
    decoder = Decoder()
    texts = [decoder.decode(line) for line in lines]
    assert not [text for text in texts if len(text.splitlines()) > 1 or set(text) & set(LINE_BREAKS)]
    broken = [line.decode(errors="backslashreplace").count("\\x") for line in lines]
    assert decoder.broken_lines == sum(number > 0 for number in broken)
    assert decoder.broken_lines <= decoder.broken <= sum(broken)


def test_windows_are_full_where_there_is_enough() -> None:
    assert [len(window) for window in windows(Chunks([b"x\n" * 10, b"x\n" * 5, b"x"]), 4)] == [4, 4, 4, 4]


def test_a_window_ends_where_no_more_is_there() -> None:
    found = list(windows(Chunks([b"a\n", b"b\nc", b"d\n", b"e"], slow=[1, 3]), 100))
    assert found == [[b"a"], [b"b", b"cd"], [b"e"]]


def test_a_carriage_return_and_a_newline_in_two_chunks() -> None:
    assert list(windows(Chunks([b"a\r", b"\nb\r"]), 9)) == [[b"a", b"b\r"]]


def test_what_is_not_utf_8_is_counted_once_for_each_replacement() -> None:
    decoder = Decoder()
    given = "\N{REPLACEMENT CHARACTER}".encode()
    assert decoder.decode(given) == "\ufffd"
    assert (decoder.broken, decoder.broken_lines) == (0, 0)
    assert decoder.decode(b"a\xffb\xe2\x80" + given + b"\xe2") == "a\ufffdb\ufffd\ufffd\ufffd"
    assert (decoder.broken, decoder.broken_lines) == (3, 1)


def test_on_one_line() -> None:
    assert on_one_line("a\r\nb\x0bc\x0cd\x1ce\x1df\x1eg\x85h\u2028i\u2029j\x00\tk") == "a  b c d e f g h i j\x00\tk"
    every = [chr(number) for number in range(0x110000) if len(f"a{chr(number)}b".splitlines()) > 1]
    assert sorted(every) == sorted(LINE_BREAKS)
