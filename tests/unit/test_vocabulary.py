"""SentencePiece models from plain text."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece

from bnb_fairseq import vocabulary
from bnb_fairseq.data.bert_tokenizer import load_wordpiece
from bnb_fairseq.data.dictionary import load_dictionary
from bnb_fairseq.data.subword import BERT_SPECIALS, SentencePiece
from bnb_fairseq.data.wordpiece import WordPiece

from ..facts import check_faults, says

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command: what it prints, or the line with which it ends."""

    def command(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["vocabulary", *map(str, arguments)])
        try:
            vocabulary.main()
        except SystemExit as ended:
            return str(ended.code)
        return capsys.readouterr().out

    return command


def test_a_model_for_a_dictionary(
    run: Run, small_data: Callable[[str, int], list[tuple[str, str]]], tmp_path: Path
) -> None:
    texts = [target for _, target in small_data("train", 1200)]
    for i, half in enumerate((texts[:600], texts[600:])):
        (tmp_path / f"{i}.de").write_text("".join(f"{line}\n" for line in half), encoding="utf-8")
    output = tmp_path / "new" / "de.model"
    printed = run(tmp_path / "0.de", tmp_path / "1.de", "--symbols", 300, "--output", output)
    assert printed == f"SentencePiece model with 300 symbols: {output}\n"
    dictionary = load_dictionary(str(output))
    assert len(dictionary) == 300 + 2  # five special symbols in place of SentencePiece's three
    unknown = [text for text in texts if dictionary.unk() in dictionary.encode_line(text)]
    assert unknown == []


def symbols(model: bytes, path: Path) -> list[str]:
    path.write_bytes(model)
    return SentencePiece(path).symbols


def test_special_symbols_in_the_text(tmp_path: Path) -> None:
    """A dictionary would refuse a model with a piece that spells one of them."""
    draw = random.Random(1)
    texts = ["".join(draw.choices([*BERT_SPECIALS, "a", "b"], k=8)) for _ in range(400)]
    pieces = symbols(vocabulary.train_model(texts, 38, "texts"), tmp_path / "x.model")
    assert "][" in pieces
    assert not any(symbol in piece for symbol in BERT_SPECIALS for piece in pieces[5:])


def test_long_lines_count(tmp_path: Path) -> None:
    """SentencePiece by itself leaves out lines of more than 4,192 bytes without a word."""
    texts = ["ab " * 2000 + "xy", "ab ab"]
    pieces = symbols(vocabulary.train_model(texts, 9, "texts"), tmp_path / "x.model")
    assert {"x", "y"} <= set("".join(pieces[5:]))


@pytest.mark.parametrize(("coverage", "known"), [(1.0, True), (0.99, False)])
def test_coverage(coverage: float, known: bool, tmp_path: Path) -> None:
    texts = ["abab baba abba"] * 100 + ["ab\u4e00"]
    pieces = symbols(vocabulary.train_model(texts, 9, "texts", coverage), tmp_path / "x.model")
    assert ("\u4e00" in pieces) == known


@pytest.mark.parametrize(("rule", "letters"), [("nmt_nfkc", "..."), ("identity", "…")])
def test_normalization(rule: str, letters: str, tmp_path: Path) -> None:
    texts = ["aa… bb… ab…"] * 20
    path = tmp_path / "x.model"
    path.write_bytes(vocabulary.train_model(texts, 8, "texts", normalization=rule))
    tokenizer = SentencePiece(path)
    assert tokenizer.decode([tokenizer.symbols[i] for i in tokenizer.encode("ab…")]) == f"ab{letters}"


def test_of_many_lines_some_are_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vocabulary, "SAMPLE", 101)
    texts = ["ab ba"] * 5000 + ["xy"]
    pieces = symbols(vocabulary.train_model(texts, 7, "texts"), tmp_path / "x.model")
    assert "x" not in "".join(pieces[5:])


def test_a_size_that_does_not_suit_the_text(run: Run, tmp_path: Path) -> None:
    text, output = tmp_path / "train.de", tmp_path / "de.model"
    text.write_text("abcd\nbadc cd\nab dc ab\n")
    assert run(text, "--output", output, "--symbols", 7) == (
        f"vocabulary: --symbols must be at least 8 for {text}, but is 7"
    )
    message = run(text, "--output", output)
    assert message.startswith("vocabulary: --symbols must be at most ")
    assert message.endswith(f" for {text}, but is 8000")
    most = int(message.split()[6])
    assert not output.exists()
    run(text, "--output", output, "--symbols", most)
    assert len(SentencePiece(output).symbols) == most + 2


def test_arguments_that_cannot_be(run: Run, tmp_path: Path) -> None:
    text, empty, latin = tmp_path / "train.de", tmp_path / "empty", tmp_path / "latin"
    text.write_text("ab")
    empty.write_text("\n \n")
    latin.write_bytes(b"\xff\n")
    message = run(text, "--output", tmp_path / "de.bin", "--symbols", 0, "--character-coverage", 0.5)
    assert message == (
        f"vocabulary: --output must be a file that ends in .model, but is {tmp_path / 'de.bin'}; --symbols must be at "
        "least 1, but is 0; --character-coverage must lie in (0.9, 1], but is 0.5"
    )
    assert run(empty, "--output", tmp_path / "de.model") == f"vocabulary: TEXT must hold words, but {empty} has none"
    message = run(text, latin, tmp_path / "missing", "--output", tmp_path / "de.model")
    assert f"UTF-8, but {latin} is not" in message
    assert f"UTF-8, but {tmp_path / 'missing'} is not" in message
    assert str(text) not in message


def test_other_errors_of_sentencepiece_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("INTERNAL: something else")

    monkeypatch.setattr(sentencepiece.SentencePieceTrainer, "Train", fail)
    with pytest.raises(RuntimeError, match=r"^INTERNAL: something else$"):
        vocabulary.train_model(["a"], 8, "texts")


def test_a_part_of_a_berts_vocabulary(run: Run, tmp_path: Path) -> None:
    """The text is split as before; other words fall into shorter symbols, and none becomes unknown."""
    words = ["open", "##ing", "file", "closed", "Äpfel", "[unused0]"]
    letters = sorted({*"openingclosedfilesÄpfel"})
    symbols = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *(f"##{letter}" for letter in letters)]
    bert = tmp_path / "bert"
    bert.mkdir()
    (bert / "vocab.txt").write_text("".join(f"{symbol}\n" for symbol in symbols), encoding="utf-8")
    text, output = tmp_path / "train.en", tmp_path / "part"
    text.write_text("opening\nÄpfel\n", encoding="utf-8")
    said = run(text, "--trim", bert, "--output", output)
    whole, part = load_wordpiece(str(bert)), load_wordpiece(str(output))
    gone = {"file", "closed", "[unused0]"}
    assert part.symbols == [symbol for symbol in symbols if symbol not in gone]
    assert said == f"{len(symbols) - 3} of {len(symbols)} symbols of {bert}: {output}\n"

    def split(vocabulary: WordPiece, line: str) -> list[str]:
        return [vocabulary.symbols[number] for number in vocabulary.encode(line)]

    for line in ("opening Äpfel", "open [MASK]"):
        assert split(part, line) == split(whole, line)
    assert split(whole, "files") == ["file", "##s"]
    assert split(part, "files") == ["f", "##i", "##l", "##e", "##s"]  # single characters stay
    assert (tmp_path / "part" / "vocab.txt").read_text(encoding="utf-8").split() == part.symbols

    assert says(run(text, "--trim", bert, "--output", output), f"{output} ... new or empty")
    message = run(text, "--trim", bert, "--output", tmp_path / "other", "--symbols", 5, "--normalization", "nfkc")
    check_faults(message, ["--symbols ... --trim ... 5", "--normalization ... --trim ... nfkc"])
    assert not (tmp_path / "other").exists()
