"""Spaces between words: counted by hand, and real sentences there and back."""

from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers.implementations import BertWordPieceTokenizer

from bnb_fairseq.data.spaces import HEADER, Place, Spaces, class_of, contexts_of, general_spaces
from bnb_fairseq.data.subword import BERT_SPECIALS
from bnb_fairseq.data.wordpiece import WordPiece

from ...facts import names
from .conftest import Sentences


def splitter(lower_case: bool = False) -> WordPiece:
    vocabulary = {symbol: number for number, symbol in enumerate(BERT_SPECIALS)}
    bert = BertWordPieceTokenizer(vocabulary, lowercase=lower_case, strip_accents=False)
    return WordPiece(bert._tokenizer, "here")


def counted(*lines: str, lower_case: bool = False) -> Spaces:
    return Spaces.count(map(splitter(lower_case).split, lines))


def there_and_back(spaces: Spaces, line: str, lower_case: bool = False) -> str:
    return spaces.join(splitter(lower_case).split(line)[0])


@pytest.mark.parametrize(
    "line",
    [
        "Hinweis: die Datei",
        "ca. 5 Stück (z. B. 3.5)",
        'Der "erste" und der "zweite" Name',
        "Ein- und Ausgabe, Home-Assistant",
        "d'accord !",
        "\u65e5\u672c\u8a9e\u3002",
        "one",
        "",
    ],
)
def test_a_counted_line_comes_back(line: str) -> None:
    spaces = counted(line, "Und hier steht noch etwas anderes .")
    assert there_and_back(spaces, line) == line


def test_the_more_frequent_one_wins() -> None:
    spaces = counted("a: b", "a: b", "a:b")
    assert there_and_back(spaces, "a:b") == "a: b"
    assert there_and_back(counted("a: b", "a:b", "a:b"), "a: b") == "a:b"


def test_unseen_words_fall_back_on_their_classes() -> None:
    spaces = counted("ca. 5 Stück", "Hinweis: die", "Version 3.5", "Version 2.1")
    assert there_and_back(spaces, "etwa. 7 Meter") == "etwa. 7 Meter"
    assert there_and_back(spaces, "Warnung: das") == "Warnung: das"
    assert there_and_back(spaces, "Ausgabe 9.8") == "Ausgabe 9.8"


def test_a_place_reads_the_decision_on_the_place_before() -> None:
    spaces = counted("links - rechts", "links -rechts", "oben -unten", "innen -aussen")
    assert there_and_back(spaces, "links - rechts") == "links -rechts"
    words = ["x", "-", "y"]
    alone = Spaces.count([(words, [False, False]), (words, [True, True]), (words, [True, True])])
    assert alone.join(words) == "x - y"
    glued = Spaces.count([(words, [False, False])] * 3 + [(words, [True, True])] * 2)
    assert glued.join(words) == "x-y"


def test_quotes_open_and_close() -> None:
    """No pair of words here was seen before: the parity of the marks alone tells them apart."""
    spaces = counted(*[f'das "{word}" ist da' for word in ("eine", "andere", "dritte")])
    assert there_and_back(spaces, 'mein "name" und "anderes" dazu') == 'mein "name" und "anderes" dazu'


def test_words_without_marks_are_never_joined() -> None:
    assert there_and_back(Spaces.count([(["a", "b"], [False])]), "c d") == "c d"


def test_contexts_coarsen_from_one_to_the_next() -> None:
    """Whatever agrees in one context agrees in all that follow, which the pruning of rules needs."""
    places = [
        Place(before, left, right, after, quotes, spaced)
        for before in ("the", "Der", "7", ",")
        for left in ("the", ".", "a")
        for right in ("-", "b", "9")
        for after in ("the", "and", "(")
        for quotes, spaced in (("--", "1"), ("1-", "0"))
    ]
    levels = list(zip(*map(contexts_of, places), strict=True))
    assert len(levels) == 8
    for finer, coarser in pairwise(levels):
        assert len(set(zip(finer, coarser, strict=True))) == len(set(finer))


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        *(
            ("7", "0"),
            ("42", "0"),
            ("a", "a1"),
            ("und", "a"),
            ("A", "A1"),
            ("USB", "A"),
            ("Datei", "Aa"),
            ("iPad", "aA"),
        ),
        *(("x86", "a"), (".", "."), ("<s>", "<s>"), ("\u65e5", "CJK"), ("\u201e", "\u201e"), ("<[UNK]>", "a")),
    ],
)
def test_class_of(word: str, kind: str) -> None:
    assert class_of(word) == kind


def test_saved_counts_are_the_same(tmp_path: Path, training: Sentences) -> None:
    spaces = counted(*training.german)
    spaces.save(tmp_path / "spaces.tsv")
    loaded = Spaces.load(tmp_path / "spaces.tsv")
    assert str(loaded) == str(spaces)
    assert loaded.digest() == spaces.digest() != counted(*training.english).digest()
    assert (tmp_path / "spaces.tsv").read_text(encoding="utf-8").startswith(HEADER + "\n")


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", ["version 1"]),
        ("# spaces between words, version 2\n", ["version 1"]),
        (f"{HEADER}\n0\ta\t1\n9\ta\t1\n", ["3", "0", "1", "9\\ta\\t1"]),
        (f"{HEADER}\n0\ta\n", ["2"]),
        (f"{HEADER}\n0\ta\t2\n", ["2"]),
        (f"{HEADER}\n0\t\t1\n", ["2"]),
    ],
)
def test_a_damaged_file_is_named(text: str, facts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "spaces.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=names(path, *facts)):
        Spaces.load(path)


@pytest.mark.parametrize("lower_case", [False, True])
@pytest.mark.parametrize(("language", "share"), [("english", 0.90), ("german", 0.89)])
def test_real_sentences_there_and_back(
    language: str, share: float, lower_case: bool, training: Sentences, unseen: Sentences
) -> None:
    """Counted in 2,000 sentences only; the package's counts, of all sentences, do at least as well."""
    lines = [" ".join(line.split()) for line in getattr(unseen, language)]
    lines = [line.lower() for line in lines] if lower_case else lines
    own = counted(*getattr(training, language), lower_case=lower_case)
    for spaces in (own, general_spaces(lower_case)):
        exact = sum(there_and_back(spaces, line, lower_case) == line for line in lines)
        assert exact > share * len(lines)
