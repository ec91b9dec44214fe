"""All lines of a source, translated in order."""

import random
from collections.abc import Sequence

import pytest

from bnb_fairseq.bulk.forms import JSONL, NBEST
from bnb_fairseq.bulk.run import COPY, EMPTY, ERROR, Counts, Settings, translate_lines

from .fake_translator import FakeTranslator
from .test_lines import PARTS, Chunks, cut

LONG = b"one two three four five six"


class Lines:
    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, lines: Sequence[str]) -> None:
        self.written += lines


def translate(data: bytes, settings: Settings, seed: int = 1) -> tuple[FakeTranslator, list[str], list[str], Counts]:
    translator, sink, said, done = FakeTranslator(), Lines(), list[str](), list[int]()
    source = Chunks(cut(data, random.Random(seed)))
    counts = translate_lines(translator, source, sink, settings, said.append, done.append)
    assert sum(done) == counts.lines
    return translator, sink.written, said, counts


@pytest.mark.parametrize("seed", range(50))
def test_a_line_for_each_line(seed: int) -> None:
    rng = random.Random(seed)
    data = b"".join(rng.choice(PARTS) for _ in range(rng.randint(0, 60)))
    lines = data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    for settings in (Settings(window=3), Settings(window=3, form=JSONL, too_long=COPY)):
        _, written, _, counts = translate(data, settings, seed)
        assert len(written) == counts.lines == lines
        assert len("".join(f"{line}\n" for line in written).splitlines()) == lines


def test_order_and_windows() -> None:
    translator, written, said, _ = translate(b"a\n\nb c\r\nd", Settings(window=2, options={"search": "none"}))
    assert written == ["A", "", "B C", "D"]
    assert translator.windows == [["a", ""], ["b c", "d"]]
    assert translator.options == {"nbest": 1, "search": "none"}
    assert said == []


@pytest.mark.parametrize(("too_long", "shown"), [(ERROR, ""), (COPY, LONG.decode()), (EMPTY, "")])
def test_too_long(too_long: str, shown: str) -> None:
    _, written, said, counts = translate(b"a\n" + LONG + b"\nb\n" + LONG, Settings(too_long=too_long, window=2))
    assert written == ["A", shown, "B", shown]
    reason = "line 2: the text has 6 tokens, but the model reads at most 5"
    assert said == ([reason, reason.replace("2", "4")] if too_long == ERROR else [])
    assert counts.untranslated == 2
    stands = "the source text" if too_long == COPY else "an empty line"
    remark = f"2 of 4 lines could not be translated; {stands} stands for each"
    assert counts.remarks(too_long) == [remark if too_long == ERROR else f"{remark}; the first: {reason}"]


def test_sentences_of_a_long_line() -> None:
    _, written, said, _ = translate(b"One two three.  Four five six? Seven eight nine ten.\n", Settings())
    assert written == ["ONE TWO THREE.  FOUR FIVE SIX? SEVEN EIGHT NINE TEN."]
    assert said == []


def test_numbers_of_an_nbest_list() -> None:
    _, written, _, counts = translate(b"a\n" + LONG + b"\nb", Settings(form=NBEST, nbest=3, window=1))
    assert [line.split(" ||| ")[:2] for line in written] == [
        *(["0", "A"], ["0", "A1"], ["0", "A2"]),
        ["1", ""],
        *(["2", "B"], ["2", "B1"], ["2", "B2"]),
    ]
    assert counts.lines == 3


def test_broken_bytes_are_said_once() -> None:
    _, written, said, counts = translate(b"a\xff\xff\nb\n\xe2\x80c", Settings())
    assert written == ["A\ufffd\ufffd", "B", "\ufffdC"]
    assert said == []
    assert counts.remarks(ERROR) == ["2 of 3 lines had bytes that are not UTF-8; U+FFFD in their place: 3"]
