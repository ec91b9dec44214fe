"""SentencePiece: ids after five special symbols, against the library itself on real sentences."""

import pickle
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece

from bnb_fairseq.data.subword import SentencePiece, Surface

from ...facts import names
from .conftest import Sentences

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
UNK, FIRST = 1, 5


def test_id_layout(pieces: Path, unseen: Sentences) -> None:
    """The model's <unk>, <s> and </s> (ids 0, 1, 2) make room for ours; its other pieces follow in order."""
    tokenizer = SentencePiece(pieces)
    library = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    assert tokenizer.symbols == SPECIALS + [library.IdToPiece(i) for i in range(3, 400)]
    seen = set()
    for text in (*unseen.german, *unseen.english):
        ids = tokenizer.encode(text)
        assert ids == [UNK if i == 0 else i - 3 + FIRST for i in library.EncodeAsIds(text)]
        seen |= set(ids)
    assert UNK in seen
    assert len(seen) > 300


def test_special_pieces_anywhere_in_the_model(tmp_path: Path, train_pieces: Callable[..., Path]) -> None:
    model = train_pieces(tmp_path / "moved", unk_id=1, bos_id=2, eos_id=3, pad_id=0, control_symbols=["<ctrl>"])
    library = sentencepiece.SentencePieceProcessor(model_file=str(model))
    tokenizer = SentencePiece(model)
    ordinary = [library.IdToPiece(i) for i in range(400) if not library.IsControl(i) and not library.IsUnknown(i)]
    assert len(ordinary) == 395
    assert tokenizer.symbols == SPECIALS + ordinary
    text = "Die Dateien öffnen"
    assert [tokenizer.symbols[i] for i in tokenizer.encode(text)] == library.EncodeAsPieces(text)


def test_round_trip(pieces: Path, unseen: Sentences) -> None:
    """Decoding gives the text back as SentencePiece normalises it: NFKC, so "…" is "...", and single spaces."""
    tokenizer = SentencePiece(pieces)
    known = 0
    for text in unseen.german:
        ids = tokenizer.encode(text)
        if UNK not in ids:
            known += 1
            normalised = " ".join(unicodedata.normalize("NFKC", text).split())
            assert tokenizer.decode([tokenizer.symbols[i] for i in ids]) == normalised
    assert known > 300
    assert tokenizer.decode([]) == ""


def test_special_symbols_in_a_users_text_are_text(pieces: Path) -> None:
    tokenizer = SentencePiece(pieces)
    for symbol in ("[SEP]", "[MASK]", "<s>", "</s>", "<unk>"):
        symbols = [tokenizer.symbols[i] for i in tokenizer.encode(f"die {symbol} Datei")]
        assert len(symbols) > 4
        assert not set(symbols) & set(SPECIALS) - {"[UNK]"}


def test_saved_and_pickled_tokenizers_are_the_same(pieces: Path, unseen: Sentences, tmp_path: Path) -> None:
    tokenizer = SentencePiece(pieces)
    tokenizer.save(tmp_path / "saved.model")
    assert (tmp_path / "saved.model").read_bytes() == pieces.read_bytes()
    copies = [SentencePiece(tmp_path / "saved.model"), pickle.loads(pickle.dumps(tokenizer))]
    for copy in copies:
        assert copy.symbols == tokenizer.symbols
        assert [copy.encode(text) for text in unseen.german] == [tokenizer.encode(text) for text in unseen.german]


def test_surface(pieces: Path) -> None:
    tokenizer = SentencePiece(pieces)
    assert tokenizer.surface("\u2581die") == Surface("die", True)
    assert tokenizer.surface("die") == Surface("die", False)
    assert tokenizer.surface("##s") == Surface("##s", False)
    assert tokenizer.surface("\u2581") == Surface("", True)


def test_pieces_that_clash_with_special_symbols(tmp_path: Path, train_pieces: Callable[..., Path]) -> None:
    model = train_pieces(tmp_path / "clash", user_defined_symbols=["[SEP]", "[X]", "[MASK]"])
    with pytest.raises(ValueError, match=names(model, "[MASK]", "[SEP]")):
        SentencePiece(model)


def test_control_pieces_do_not_clash(tmp_path: Path, train_pieces: Callable[..., Path]) -> None:
    model = train_pieces(tmp_path / "control", pad_id=3, pad_piece="[PAD]", unk_piece="[UNK]", bos_piece="[CLS]")
    tokenizer = SentencePiece(model)
    assert [tokenizer.symbols.count(symbol) for symbol in SPECIALS] == [1] * 5


@pytest.mark.parametrize("content", [b"", b"no model" * 20])
def test_file_that_is_no_model(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.model").write_bytes(content)
    with pytest.raises(ValueError, match=names(f"{tmp_path}/bad.model", "SentencePiece")):
        SentencePiece(tmp_path / "bad.model")
