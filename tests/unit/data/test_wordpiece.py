"""WordPiece with BERT's ids, compared with HuggingFace's own tokenizers on real sentences."""

import pickle
from pathlib import Path

import pytest
from transformers import BertTokenizerFast, PreTrainedTokenizerFast
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from bnb_fairseq.data.bert_tokenizer import load_wordpiece
from bnb_fairseq.data.dictionary import companion
from bnb_fairseq.data.subword import Surface
from bnb_fairseq.data.wordpiece import WordPiece

from ...facts import names
from .conftest import Sentences

SPECIAL = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "the", "cell", "##s", "die", "zelle", ".", "#", "##"]


def write_vocabulary(directory: Path, words: list[str]) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    return directory


def tokens(tokenizer: WordPiece, text: str) -> list[str]:
    return [tokenizer.symbols[i] for i in tokenizer.encode(text)]


@pytest.mark.parametrize("kind", ["cased", "uncased"])
@pytest.mark.parametrize("reference", [BertTokenizerFast, BertTokenizerLegacy], ids=["fast", "python"])
def test_ids_are_berts(
    kind: str, reference: type[BertTokenizerFast], request: pytest.FixtureRequest, unseen: Sentences
) -> None:
    directory: Path = request.getfixturevalue(kind)
    tokenizer = load_wordpiece(str(directory))
    bert = reference(str(directory / "vocab.txt"), do_lower_case=kind == "uncased")
    lengths = set()
    for text in (*unseen.english, *unseen.german):
        ids = bert.convert_tokens_to_ids(bert.tokenize(text))
        assert tokenizer.encode(text) == ids, text
        lengths.add(len(ids))
    assert len(lengths) > 20
    assert tokenizer.symbols == (directory / "vocab.txt").read_text(encoding="utf-8").splitlines()


def test_long_text_is_neither_cut_nor_padded(tmp_path: Path) -> None:
    fast = BertTokenizerFast(str(write_vocabulary(tmp_path, WORDS) / "vocab.txt")).backend_tokenizer
    fast.enable_truncation(4)
    fast.enable_padding(length=9, pad_id=0, pad_token="[PAD]")
    tokenizer = WordPiece(fast, "here")
    assert tokenizer.encode("the cell") == [6, 7]
    assert tokenizer.encode("the cells " * 600) == [6, 7, 8] * 600
    assert tokenizer.encode("") == []


@pytest.mark.parametrize("kind", ["cased", "uncased"])
def test_round_trip_of_real_sentences(kind: str, request: pytest.FixtureRequest, unseen: Sentences) -> None:
    """All but the white space around punctuation comes back, which BERT's vocabulary does not keep."""
    tokenizer = load_wordpiece(str(request.getfixturevalue(kind)))
    known = 0
    for text in unseen.german if kind == "cased" else unseen.english:
        ids = tokenizer.encode(text)
        if "[UNK]" not in tokens(tokenizer, text):
            known += 1
            decoded = tokenizer.decode([tokenizer.symbols[i] for i in ids])
            assert tokenizer.encode(decoded) == ids
            assert decoded.replace(" ", "") == tokenizer.normalize(text).replace(" ", "")
    assert known > 300


def test_decode(tmp_path: Path) -> None:
    tokenizer = load_wordpiece(str(write_vocabulary(tmp_path, WORDS)))
    assert tokenizer.decode(["the", "cell", "##s", "."]) == "the cells."
    assert tokenizer.decode(["##s", "cell", "##s"]) == "s cells", "a model may begin inside a word"
    assert tokenizer.decode(["##", "#"]).replace(" ", "") == "###"
    assert tokenizer.decode([]) == ""


def test_special_symbols_in_a_users_text_are_text(uncased: Path, tmp_path: Path) -> None:
    tokenizer = load_wordpiece(str(uncased))
    text = "[CLS] a [SEP] b [PAD][MASK] [UNK]"
    expected = tokens(tokenizer, text)
    assert "".join(expected).replace("##", "") == "[cls]a[sep]b[pad][mask][unk]"
    assert not set(expected) & {"[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"}
    assert tokens(pickle.loads(pickle.dumps(tokenizer)), text) == expected
    tokenizer.save(tmp_path / "saved.wordpiece.json")
    loaded = WordPiece.load(tmp_path / "saved.wordpiece.json")
    assert tokens(loaded, text) == expected
    loaded.save(tmp_path / "again.wordpiece.json")
    assert tokens(WordPiece.load(tmp_path / "again.wordpiece.json"), text) == expected


def test_saved_tokenizer_is_the_same(cased: Path, unseen: Sentences, tmp_path: Path) -> None:
    tokenizer = load_wordpiece(str(cased))
    tokenizer.save(tmp_path / "saved.wordpiece.json")
    loaded = WordPiece.load(tmp_path / "saved.wordpiece.json")
    assert loaded.symbols == tokenizer.symbols
    assert [loaded.encode(text) for text in unseen.german] == [tokenizer.encode(text) for text in unseen.german]


def test_surface(tmp_path: Path) -> None:
    tokenizer = load_wordpiece(str(write_vocabulary(tmp_path, WORDS)))
    assert tokenizer.surface("cell") == Surface("cell", True)
    assert tokenizer.surface("##s") == Surface("s", False)
    assert tokenizer.surface("#") == Surface("#", True)
    assert tokenizer.surface("##") == Surface("##", True)


def test_vocab_txt_stands_for_its_directory(uncased: Path) -> None:
    assert load_wordpiece(str(uncased / "vocab.txt")).symbols == load_wordpiece(str(uncased)).symbols


def test_directory_without_a_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=names(tmp_path, "tokenizer.json", "vocab.txt")):
        load_wordpiece(str(tmp_path))


def test_neither_a_directory_nor_a_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=names(f"{tmp_path}/none", "tokenizer.json")):
        load_wordpiece(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("words", "lacking"),
    [
        (["<s>", "<pad>", "</s>", "<unk>", "a"], "[CLS], [PAD], [SEP], [UNK], [MASK]"),
        ([word for word in WORDS if word not in ("[MASK]", "[SEP]")], "no [SEP], [MASK]"),
    ],
)
def test_vocabulary_of_another_model(words: list[str], lacking: str, tmp_path: Path) -> None:
    """Transformers adds missing special symbols of its own accord, beyond the rows that the embeddings have."""
    write_vocabulary(tmp_path, words)
    with pytest.raises(ValueError, match=names(tmp_path, "BERT", lacking)):
        load_wordpiece(str(tmp_path))


def test_tokenizer_of_another_model(tmp_path: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["a cell"], special_tokens=["<s>", "</s>"], show_progress=False)
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, unk_token="<unk>").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=names("BERT", "[CLS]")):
        load_wordpiece(str(tmp_path))


def test_ids_with_gaps(tmp_path: Path) -> None:
    write_vocabulary(tmp_path, [*WORDS, "the", "last"])  # "the" twice: ids 0..15, but 15 symbols
    with pytest.raises(ValueError, match=names("15", "0..14")):
        load_wordpiece(str(tmp_path))


def test_companion(tmp_path: Path) -> None:
    assert companion(tmp_path / "dict.de.txt", ".x") == tmp_path / "dict.de.x"
    assert companion(tmp_path / "dict.de", ".x") == tmp_path / "dict.de.x"
