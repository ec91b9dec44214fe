"""Symbols of a dictionary find BERT's embedding rows by their text."""

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
from tokenizers.models import WordPiece as WordPieceModel
from tokenizers.normalizers import BertNormalizer

from bnb_fairseq.data.dictionary import BnbDictionary, SubwordDictionary
from bnb_fairseq.data.subword import SentencePiece
from bnb_fairseq.data.wordpiece import WordPiece
from bnb_fairseq.start.row_matching import SymbolTable, match_rows, symbol_state

# rows: 0 [PAD], 1 [UNK], 2 [CLS], 3 [SEP], 4 [MASK], then these
ROWS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROWS += ["the", "##ing", "ing", ",", "cafe", "##cafe", "strasse", "!", "##!", "co-op", "##42", "don", "▁"]


def bert(lowercase: bool = True, rows: Sequence[str] = ROWS) -> SymbolTable:
    return SymbolTable.of_wordpiece(wordpiece(lowercase, rows))


def wordpiece(lowercase: bool = True, rows: Sequence[str] = ROWS) -> WordPiece:
    model = WordPieceModel({symbol: i for i, symbol in enumerate(rows)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = BertNormalizer(lowercase=lowercase)
    return WordPiece(tokenizer, "test")


def row(symbol: str) -> int:
    return ROWS.index(symbol)


def plain(words: Sequence[str]) -> BnbDictionary:
    dictionary = BnbDictionary()
    for word in words:
        dictionary.add_symbol(word)
    dictionary.add_mask()
    return dictionary


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> SubwordDictionary:
    """A SentencePiece dictionary that has the pieces of interest."""
    model = io.BytesIO()
    wanted = ["▁the", "the", "▁The", "ing", "▁ing", ",", "▁,", "▁Café", "café", "!", "▁!", "co-op", "▁co-op", "42"]
    wanted += ["▁42", "▁Straße", "▁don", "don"]
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(["xyz zyx"] * 20),
        model_writer=model,
        vocab_size=len(wanted) + 8,
        model_type="char",
        hard_vocab_limit=False,
        user_defined_symbols=wanted,
        minloglevel=2,
    )
    path: Path = tmp_path_factory.mktemp("pieces") / "sp.model"
    path.write_bytes(model.getvalue())
    return SubwordDictionary(SentencePiece(path))


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ("▁the", row("the")),
        ("the", -1),  # inside a word it would be "##the", which BERT does not have
        ("▁The", row("the")),  # an uncased BERT reads it so
        ("ing", row("##ing")),
        ("▁ing", row("ing")),
        (",", row(",")),  # WordPiece splits punctuation off, so it always begins a word
        ("▁,", row(",")),
        ("!", row("##!")),  # unless BERT has it inside words
        ("▁!", row("!")),
        ("▁Café", row("cafe")),  # accents go, too
        ("café", row("##cafe")),
        ("▁co-op", row("co-op")),
        ("co-op", row("co-op")),
        ("▁42", -1),
        ("42", row("##42")),
        ("▁Straße", -1),  # BERT's normaliser keeps the sharp s
        ("▁don", row("don")),
        ("don", -1),
        ("▁", -1),  # the lone mark of a word's beginning stands for no text, though a row is spelt like it
        ("x", -1),
    ],
)
def test_sentencepiece(piece: str, expected: int, pieces: SubwordDictionary) -> None:
    assert int(match_rows(pieces, bert())[pieces.index(piece)]) == expected


def test_special_symbols_match_by_role(pieces: SubwordDictionary) -> None:
    roles = {"pad": "[PAD]", "unk": "[UNK]", "bos": "[CLS]", "eos": "[SEP]", "mask": "[MASK]"}
    reordered = ["[MASK]", "[SEP]", "the", "[CLS]", "[UNK]", "[PAD]", "<pad>", "</s>", "<s>", "<mask>", "<unk>"]
    model = bert(rows=reordered)
    for dictionary in (pieces, plain(["the"])):
        rows = match_rows(dictionary, model)
        for role, symbol in roles.items():
            assert int(rows[getattr(dictionary, role)()]) == reordered.index(symbol), role


def test_plain_words_begin_words() -> None:
    dictionary = plain(["the", "ing", "##ing", ",", "nowhere", "The", "[CLS]"])
    expected = [row("[CLS]"), row("[PAD]"), row("[SEP]"), row("[UNK]")]  # fairseq's order: <s> <pad> </s> <unk>
    expected += [row("the"), row("ing"), row("##ing"), row(","), -1, row("the"), row("[CLS]"), row("[MASK]")]
    assert match_rows(dictionary, bert()).tolist() == expected


def test_cased_bert_keeps_capitals_apart() -> None:
    dictionary = plain(["The", "the"])
    assert match_rows(dictionary, bert(lowercase=False)).tolist()[4:6] == [-1, row("the")]
    with_capital = bert(rows=[*ROWS, "The"])
    assert match_rows(dictionary, with_capital).tolist()[4:6] == [len(ROWS), row("the")]


def test_the_same_vocabulary_matches_row_by_row() -> None:
    assert match_rows(SubwordDictionary(wordpiece()), bert()).tolist() == list(range(len(ROWS)))


def test_another_wordpiece_vocabulary() -> None:
    other = ["the", "[MASK]", "##ing", "[CLS]", "ing", "[UNK]", "##the", "[PAD]", "[SEP]", "##,", "##"]
    expected = ["the", "[MASK]", "##ing", "[CLS]", "ing", "[UNK]", None, "[PAD]", "[SEP]", ",", None]
    rows = match_rows(SubwordDictionary(wordpiece(rows=other)), bert())
    assert rows.tolist() == [-1 if symbol is None else row(symbol) for symbol in expected]


def test_what_a_checkpoint_holds_tells_the_same_as_the_tokenizer(pieces: SubwordDictionary) -> None:
    saved = symbol_state(SubwordDictionary(wordpiece()))
    assert saved["surfaces"][5:9] == ["▁the", "ing", "▁ing", "▁,"]
    table = SymbolTable.of_state(saved)
    assert match_rows(pieces, table).tolist() == match_rows(pieces, bert()).tolist()
    back = match_rows(SubwordDictionary(wordpiece()), SymbolTable.of_state(symbol_state(pieces)))
    assert back[ROWS.index("##ing")] == pieces.index("ing")
    assert back[ROWS.index("ing")] == pieces.index("▁ing")
    assert back[ROWS.index("the")] == pieces.index("▁the")
    assert back[ROWS.index("[MASK]")] == pieces.mask()
