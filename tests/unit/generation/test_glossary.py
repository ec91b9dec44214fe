"""Which terms a source text has, and how translations are spelt in WordPieces and SentencePieces."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bnb_fairseq.generation.glossary import Glossary, read_glossary, split_words

from .glossary_texts import SPELLINGS, encode, make_glossary, spelt

LETTERS = ["", *(f" {letter}" for letter in "ABCDEFGH")]


def found(terms: Mapping[str, str], text: str) -> dict[str, int]:
    """Look for terms whose translations are single letters."""
    glossary = Glossary(terms, lambda target: [LETTERS.index(f" {target[-1]}")], spelt(LETTERS))
    return {glossary.targets[number].spelling: count for number, count in glossary.find(text).items()}


@pytest.mark.parametrize(
    ("terms", "text", "expected"),
    [
        ({"file": "A"}, "The file, a file.", {"A": 2}),
        ({"file": "A"}, "Files are in files; profile", {}),
        ({"file": "A"}, "File (FILE)", {"A": 2}),
        ({"Windows": "A", "windows": "B"}, "Windows has windows. WINDOWS", {"A": 2, "B": 1}),
        ({"windows": "B", "Windows": "A"}, "Windows has windows. WINDOWS", {"A": 1, "B": 2}),
        ({"file*": "A"}, "files Filename profile file", {"A": 3}),
        ({"file*": "A", "file": "B"}, "file files", {"B": 1, "A": 1}),
        ({"file*": "A", "filen*": "B"}, "filename files", {"B": 1, "A": 1}),
        ({"file": "A", "file name": "B"}, "the file  name of a file", {"B": 1, "A": 1}),
        ({"file name*": "A"}, "file names, file name, file", {"A": 2}),
        ({"plug-in": "A"}, "a plug-in plug in", {"A": 1}),
        ({"C++": "A", "C": "B"}, "C++ and C", {"A": 1, "B": 1}),
        ({"entity_name": "A", "name": "B"}, "{entity_name} name", {"A": 1, "B": 1}),
        ({"file": "A", "record": "A"}, "file, record, file", {"A": 3}),
        ({"Grüße": "A"}, "GRU\u0308SSE grüße", {"A": 2}),
        ({"文件": "A"}, "打开文件夹", {"A": 1}),
        ({"file": "A"}, "", {}),
    ],
)
def test_terms_of_a_text(terms: dict[str, str], text: str, expected: dict[str, int]) -> None:
    assert found(terms, text) == expected


def test_order_is_that_of_the_text() -> None:
    assert list(found({"one": "A", "two": "B"}, "two one two")) == ["B", "A"]


def test_words() -> None:
    assert split_words(" {a_1}, naïve-B2\t語の。") == ["{", "a_1", "}", ",", "naïve", "-", "B2", "語", "の", "。"]


def test_same_translation_is_one_term() -> None:
    glossary = make_glossary({"x": "ab", "y": "ab", "z": "ab*"})
    assert [(term.spelling, term.inflected) for term in glossary.targets] == [("ab", False), ("ab", True)]


def test_symbols_of_a_term() -> None:
    whole, inflected = make_glossary({"x": "aba", "y": "ab*"}).targets
    assert whole.symbols == (SPELLINGS.index(" ab"), SPELLINGS.index("a"))
    assert set(whole.asked) == {SPELLINGS.index(s) for s in (" ab", "a", "ab")}  # "(ab" is "(" and "ab"
    assert set(inflected.asked) == {SPELLINGS.index(s) for s in (" ab", "ab", " abab")}


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"": "a"}, "1 of 1 terms: '' -> 'a' must have a word on both sides"),
        ({"x": "*", "y": "a"}, "1 of 2 terms: 'x' -> '*' must have a word on both sides"),
        ({"x": "aq"}, "1 of 1 terms: 'x' -> 'aq' must be one that the target vocabulary can write"),
    ],
)
def test_bad_terms(terms: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make_glossary(terms)
    assert str(caught.value) == f"--glossary: {message}"


def test_encoder_of_the_tests() -> None:
    assert [SPELLINGS[i] for i in encode("abab aba (a")] == [" abab", " ab", "a", " ", "(", "a"]


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text("file*\tDatei*\n\n open \t öffnen\nfile*\tDatei*\n", encoding="utf-8")
    assert read_glossary(path) == {"file*": "Datei*", "open": "öffnen"}
