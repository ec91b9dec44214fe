"""Vocabularies of a model folder give the ids and the text that fairseq's dictionaries give."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bnb_fairseq.data.dictionary import BnbDictionary, load_dictionary
from bnb_fairseq.engines.with_fairseq import dictionary_of, vocabulary_of
from bnb_fairseq.folder.vocabulary import PLAIN, SENTENCEPIECE, SPACES, WORDPIECE, Vocabulary, load_vocabulary

from ..data.conftest import (  # noqa: F401  # fixtures
    Sentences,
    cased,
    pieces,
    train_pieces,
    train_wordpiece,
    training,
    uncased,
    unseen,
)

KINDS = ("cased", "uncased", "pieces", "plain")
ODD = [
    "",
    "   ",
    "\t",
    "a\tb",
    "  the cell\u00a0opens \u3000 . ",
    "[SEP] [CLS]the [PAD] cell [MASK] [UNK]",
    "<s> the </s> <pad> <unk> <mask>",
    "a\x00b\x01c\u200bd\ufeffe",
    "line\nfeed\rreturn\x0bvertical\x0cform\x1cfile\x85next\u2028separator",
    "漢字かな 한국어 العربية 🙂👨‍👩‍👧 ﬁ ½",
    "w" * 300,
    "▁ ▁the ##cell ##",
]


@pytest.fixture(params=KINDS)
def dictionary(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    training: Sentences,  # noqa: F811
) -> BnbDictionary:
    """One that was saved in a data-bin folder and loaded from there, as a task does."""
    if request.param == "plain":
        counts: dict[str, int] = {}
        for word in " ".join(training.german).split():
            counts[word] = counts.get(word, 0) + 1
        frequent = sorted(counts, key=lambda word: -counts[word])[:500]
        (tmp_path / "dict.xx.txt").write_text(
            "".join(f"{word} {counts[word]}\n" for word in frequent), encoding="utf-8"
        )
    else:
        load_dictionary(str(request.getfixturevalue(request.param))).save(str(tmp_path / "dict.xx.txt"))
    return load_dictionary(str(tmp_path / "dict.xx.txt"))


@pytest.fixture
def vocabulary(dictionary: BnbDictionary, tmp_path: Path) -> Vocabulary:
    """The dictionary's, written into a folder and read again."""
    folder = tmp_path / "side"
    folder.mkdir()
    vocabulary_of(dictionary).save(folder)
    return load_vocabulary(folder)


def ids(dictionary: BnbDictionary, line: str, segments: bool) -> list[int]:
    dictionary.reads_segments = segments
    return [dictionary.bos(), *dictionary.encode_line(line, add_if_not_exist=False).tolist()]


def test_same_ids_and_text(
    dictionary: BnbDictionary,
    vocabulary: Vocabulary,
    unseen: Sentences,  # noqa: F811
) -> None:
    assert vocabulary.symbols == dictionary.symbols
    assert len(vocabulary) == len(dictionary)
    assert vocabulary.specials() == dictionary.specials()
    for special in ("bos", "pad", "eos", "unk", "mask"):
        assert getattr(vocabulary, special)() == getattr(dictionary, special)()
    for line in [*unseen.german[:100], *unseen.english[:50], *ODD]:
        assert vocabulary.encode(line) == ids(dictionary, line, False), repr(line)
        pair = f"{line}\t{line} x"
        assert vocabulary.encode(pair, True) == ids(dictionary, pair, True), repr(line)
        tokens = vocabulary.encode(line)
        assert vocabulary.text(tokens) == dictionary.text(
            dictionary.encode_line(line, add_if_not_exist=False), dictionary.unk_word
        )


def test_text_round_trips(vocabulary: Vocabulary, dictionary: BnbDictionary, training: Sentences) -> None:  # noqa: F811
    """Text comes back, but for capital letters and what the vocabulary does not know."""
    lines = [line for line in (*training.german[:300], *training.english[:300]) if line.isascii()]
    lines = [line for line in lines if vocabulary.unk() not in vocabulary.encode(line)]
    assert len(lines) > 5
    found = [vocabulary.text(vocabulary.encode(line)) for line in lines]
    same = sum(one.lower().split() == line.lower().split() for one, line in zip(found, lines, strict=True))
    least = 0.8 if dictionary.takes_raw_text else 1.0  # a space of WordPiece is a majority's
    assert same >= least * len(lines)


def test_special_symbols_are_not_printed(vocabulary: Vocabulary) -> None:
    special = [vocabulary.bos(), vocabulary.pad(), vocabulary.eos(), vocabulary.mask()]
    word = next(i for i in range(len(vocabulary)) if i not in (*special, vocabulary.unk()))
    assert vocabulary.text(special) == ""
    assert vocabulary.text([*special, word, *special]) == vocabulary.text([word])
    assert vocabulary.text([vocabulary.unk()]).strip() != ""


def test_special_symbols_that_a_user_types(vocabulary: Vocabulary, dictionary: BnbDictionary) -> None:
    """Are text for a subword tokenizer; a plain dictionary, whose text others have split, takes them for symbols."""
    special = {vocabulary.bos(), vocabulary.pad(), vocabulary.eos(), vocabulary.mask()}
    found = set(vocabulary.encode(" ".join(dictionary.specials()))[1:-1])
    assert bool(found & special) != dictionary.takes_raw_text


def test_way_back_to_a_dictionary(vocabulary: Vocabulary, dictionary: BnbDictionary) -> None:
    back = dictionary_of(vocabulary)
    assert back.digest().differences(dictionary.digest()) == []
    assert back.specials() == dictionary.specials()
    assert back.mask() == dictionary.mask()


@pytest.mark.parametrize(
    ("symbols", "said"),
    [
        (["<s>", "<pad>", "</s>", "<unk>", "a"], "lacks <mask>"),
        (["a"], "lacks </s>, <mask>, <pad>, <s>, <unk>"),
        (["<s>", "<pad>", "</s>", "<unk>", "a", "a", "<mask>"], "has a symbol twice"),
    ],
)
def test_damaged_plain_vocabulary(symbols: Sequence[str], said: str, tmp_path: Path) -> None:
    (tmp_path / PLAIN).write_text("".join(f"{symbol}\n" for symbol in symbols))
    with pytest.raises(ValueError, match=f"dict.txt: must have each symbol once, .* but {said}$"):
        load_vocabulary(tmp_path)


def test_order_that_fairseq_does_not_have(tmp_path: Path) -> None:
    (tmp_path / PLAIN).write_text("a\n<s>\n<pad>\n</s>\n<unk>\n<mask>\n")
    vocabulary = load_vocabulary(tmp_path)
    with pytest.raises(ValueError, match="must begin with fairseq's special ones"):
        dictionary_of(vocabulary)


@pytest.mark.parametrize("name", [WORDPIECE, SENTENCEPIECE, PLAIN, SPACES])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"{}", b"[" * 100_000, b'{"model": {"type": "BPE"}}'])
def test_damaged_tokenizers(
    name: str,
    content: bytes,
    tmp_path: Path,
    uncased: Path,  # noqa: F811
) -> None:
    if name == SPACES:
        vocabulary_of(load_dictionary(str(uncased))).save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=str(tmp_path)) as refusal:
        load_vocabulary(tmp_path)
    assert "\n" not in str(refusal.value).strip()


def test_a_tokenizer_that_is_cut(tmp_path: Path, pieces: Path, uncased: Path) -> None:  # noqa: F811
    """Anywhere: an error, or a tokenizer of fewer symbols, which then do not fit the weights."""
    for source, name in ((pieces, SENTENCEPIECE), (uncased, WORDPIECE)):
        vocabulary_of(load_dictionary(str(source))).save(tmp_path)
        whole, symbols = (tmp_path / name).read_bytes(), load_vocabulary(tmp_path).symbols
        for end in range(0, len(whole), len(whole) // 40):
            (tmp_path / name).write_bytes(whole[:end])
            try:
                assert load_vocabulary(tmp_path).symbols != symbols
            except ValueError as error:
                assert str(tmp_path) in str(error)
        (tmp_path / name).unlink()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dict.txt: must be a file, but there is no such file$"):
        load_vocabulary(tmp_path)
