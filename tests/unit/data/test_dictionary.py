"""Dictionaries: BERT's and SentencePiece's ids, and how they are kept in a data-bin folder."""

import hashlib
import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fairseq.data import Dictionary

from bnb_fairseq.data.bert_tokenizer import load_wordpiece
from bnb_fairseq.data.detokenizer import Detokenizer
from bnb_fairseq.data.dictionary import (
    BnbDictionary,
    SubwordDictionary,
    evenly_spaced_lines,
    load_dictionary,
)
from bnb_fairseq.data.raw_texts import Preprocessing
from bnb_fairseq.data.spaces import general_spaces
from bnb_fairseq.data.subword import SentencePiece, Surface

from ...facts import names
from .conftest import Sentences

# [CLS] 1, [MASK] 2, [PAD] 3, [SEP] 4, [UNK] 5: another order than any default.
WORDS = ["die", "[CLS]", "[MASK]", "[PAD]", "[SEP]", "[UNK]", "zelle", "##n", "."]


@pytest.fixture
def small(tmp_path: Path) -> SubwordDictionary:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    return SubwordDictionary(load_wordpiece(str(tmp_path / "small")))


def ids_of(dictionary: BnbDictionary) -> list[int]:
    return [dictionary.bos(), dictionary.mask(), dictionary.pad(), dictionary.eos(), dictionary.unk()]


def test_special_symbols_stand_where_the_vocabulary_has_them(small: SubwordDictionary) -> None:
    assert ids_of(small) == [1, 2, 3, 4, 5]
    assert tuple(small.specials()) == ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
    assert len(small) == 9
    assert [small.index(word) for word in WORDS] == list(range(9))
    assert small.index("nowhere") == 5
    assert small.surface("##n") == Surface("n", False)


def test_encode_line(small: SubwordDictionary) -> None:
    ids = small.encode_line("  Die Zellen. \n")
    assert ids.dtype == torch.int32
    assert ids.tolist() == [0, 6, 7, 8, 4]
    assert small.encode_line("Die Zellen.", append_eos=False).tolist() == [0, 6, 7, 8]
    assert small.encode_line("Die Zellen.", reverse_order=True).tolist() == [8, 7, 6, 0, 4]
    assert small.encode_line("").tolist() == [4]


def test_unknown_symbols_are_counted_as_fairseq_counts_them(small: SubwordDictionary) -> None:
    """fairseq counts a symbol as replaced where its id is that of [UNK] and its text is not."""
    seen: list[tuple[str, int]] = []
    small.encode_line("die Katze .", consumer=lambda symbol, i: seen.append((symbol, i)))
    assert [i for _, i in seen] == [0, 5, 8]
    assert [i == small.unk() and symbol != small.unk_word for symbol, i in seen] == [False, True, False]


def test_string_leaves_out_padding_and_mask(small: SubwordDictionary) -> None:
    ids = torch.tensor([1, 0, 2, 6, 7, 5, 4, 3, 3])
    assert small.string(ids) == "die zelle ##n [UNK]"
    assert small.string(ids.tolist()) == "die zelle ##n [UNK]"
    assert small.string(ids, include_eos=True) == "die zelle ##n [UNK] [SEP]"
    assert small.string(ids, extra_symbols_to_ignore={6, 7}) == "die [UNK]"
    assert small.string(ids, unk_string="???", separator="|") == "die|zelle|##n|???"
    assert small.string(torch.tensor([[0, 3], [2, 6]])) == "die\nzelle"


def test_decode(small: SubwordDictionary) -> None:
    assert small.decode("die zelle ##n .") == "die zellen."
    assert small.decode("") == ""


def test_pickled_dictionary_is_the_same(small: SubwordDictionary) -> None:
    """fairseq-preprocess sends dictionaries to its workers."""
    copy = pickle.loads(pickle.dumps(small))
    assert copy.encode_line("Die [SEP] Zellen.").tolist() == small.encode_line("Die [SEP] Zellen.").tolist()
    assert small.encode_line("Die [SEP] Zellen.").tolist().count(4) == 1
    assert ids_of(copy) == [1, 2, 3, 4, 5]


def test_plain_dictionary_has_fairseqs_ids_and_the_mask_last(tmp_path: Path) -> None:
    path = tmp_path / "dict.de.txt"
    path.write_text("die 7\nZelle 3\n. 1\n")
    dictionary = load_dictionary(str(path))
    assert type(dictionary) is BnbDictionary
    reference = Dictionary.load(str(path))
    assert dictionary.symbols == [*reference.symbols, "<mask>"]
    assert ids_of(dictionary) == [0, 7, 1, 2, 3]
    line = "die Zelle unbekannt ."
    ids = dictionary.encode_line(line, add_if_not_exist=False)
    assert torch.equal(ids, reference.encode_line(line, add_if_not_exist=False))
    assert dictionary.string(torch.tensor([0, 4, 7, 6, 1, 2])) == "die ."
    assert dictionary.decode("die .") == "die ."
    assert dictionary.surface("##n") == Surface("##n", True)


def test_plain_dictionary_is_saved_with_its_mask(tmp_path: Path) -> None:
    path = tmp_path / "dict.de.txt"
    path.write_text("die 7\nZelle 3\n")
    first = load_dictionary(str(path))
    first.save(str(path))
    assert path.read_text() == "die 7\nZelle 3\n<mask> 0\n"
    again = load_dictionary(str(path))
    assert again.symbols == first.symbols
    assert again.mask() == 6


@pytest.mark.parametrize("kind", ["cased", "uncased", "pieces"])
def test_tokenizer_is_read_from_the_data_bin_once_the_original_is_gone(
    kind: str, request: pytest.FixtureRequest, unseen: Sentences, tmp_path: Path
) -> None:
    original: Path = request.getfixturevalue(kind)
    moved = tmp_path / original.name
    (shutil.copytree if original.is_dir() else shutil.copy)(original, moved)
    dictionary = load_dictionary(str(moved))
    (tmp_path / "bin").mkdir()
    dictionary.save(str(tmp_path / "bin" / "dict.de.txt"))
    if moved.is_dir():
        shutil.rmtree(moved)
    else:
        moved.unlink()
    suffix = "sentencepiece.model" if kind == "pieces" else "wordpiece.json"
    spaces = set() if kind == "pieces" else {"dict.de.spaces.tsv"}
    assert {path.name for path in (tmp_path / "bin").iterdir()} == {f"dict.de.{suffix}", "dict.de.txt"} | spaces
    loaded = load_dictionary(str(tmp_path / "bin" / "dict.de.txt"))
    assert loaded.symbols == dictionary.symbols
    assert ids_of(loaded) == ids_of(dictionary)
    for text in (*unseen.german, "[SEP] [MASK]"):
        assert torch.equal(loaded.encode_line(text), dictionary.encode_line(text))
    lines = (tmp_path / "bin" / "dict.de.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [f"{symbol} 1" for symbol in dictionary.symbols]


@pytest.mark.parametrize(("kind", "suffix"), [("cased", "wordpiece.json"), ("pieces", "sentencepiece.model")])
def test_damaged_tokenizer_is_named(kind: str, suffix: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    load_dictionary(str(request.getfixturevalue(kind))).save(str(tmp_path / "dict.de.txt"))
    tokenizer = tmp_path / f"dict.de.{suffix}"
    tokenizer.write_bytes(tokenizer.read_bytes()[:100])
    with pytest.raises(ValueError, match=names(tokenizer)):
        load_dictionary(str(tmp_path / "dict.de.txt"))


@pytest.mark.parametrize("order", [("uncased", "pieces"), ("pieces", "uncased"), ("pieces", "plain")])
def test_last_saved_dictionary_counts(order: tuple[str, str], request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A tokenizer that an earlier run left in the folder must not be taken for that of the present dictionary."""
    (tmp_path / "plain.txt").write_text("die 7\n")
    path = str(tmp_path / "dict.de.txt")
    for kind in order:
        origin = tmp_path / "plain.txt" if kind == "plain" else request.getfixturevalue(kind)
        last = load_dictionary(str(origin))
        last.save(path)
    assert load_dictionary(path).symbols == last.symbols


def test_open_file_gets_the_symbols_only(small: SubwordDictionary, tmp_path: Path) -> None:
    file = io.StringIO()
    small.save(file)
    assert file.getvalue() == "".join(f"{word} 1\n" for word in WORDS)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_load_sentencepiece(pieces: Path) -> None:
    dictionary = load_dictionary(str(pieces))
    assert isinstance(dictionary, SubwordDictionary)
    assert isinstance(dictionary.tokenizer, SentencePiece)
    assert [dictionary.pad(), dictionary.unk(), dictionary.bos(), dictionary.eos(), dictionary.mask()] == [
        0,
        1,
        2,
        3,
        4,
    ]
    ids = dictionary.encode_line("die Datei")
    assert dictionary.decode(dictionary.string(ids)) == "die Datei"
    assert ids[-1] == 3


def test_line_end_is_no_text(tmp_path: Path, train_pieces: Callable[..., Path]) -> None:
    """Not even for a model that keeps every space."""
    dictionary = load_dictionary(str(train_pieces(tmp_path / "spaces", remove_extra_whitespaces=False)))
    assert dictionary.encode_line(" die Datei\n").tolist() == dictionary.encode_line("die Datei").tolist()


def test_load_wordpiece_by_directory_and_by_file(uncased: Path) -> None:
    by_directory, by_file = load_dictionary(str(uncased)), load_dictionary(str(uncased / "vocab.txt"))
    vocabulary = (uncased / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert by_directory.symbols == by_file.symbols == vocabulary
    assert by_directory.encode_line("The cell").tolist() == by_file.encode_line("The cell").tolist()


def write_bad(folder: Path, name: str, content: bytes) -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "facts"),
    [
        ("bad.model", b"nonsense", ["SentencePiece"]),
        ("text.txt", b"just a sentence\n", ["dictionary"]),
        ("latin/vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngr\xfcn\n", ["utf-8", "0xfc"]),
        ("other/vocab.txt", b"<s>\n</s>\n<pad>\na\n", ["BERT", "[CLS]"]),
    ],
)
def test_what_is_no_dictionary(name: str, content: bytes, facts: list[str], tmp_path: Path) -> None:
    origin = write_bad(tmp_path, name, content)
    with pytest.raises(ValueError, match=names("--srcdict", "--tgtdict", origin, *facts)):
        load_dictionary(origin)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.model", "nowhere.txt", "nowhere/vocab.txt"])
def test_nothing_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=names("--srcdict", "--tgtdict", f"{tmp_path}/{name}")):
        load_dictionary(str(tmp_path / name))


def test_digest(small: SubwordDictionary) -> None:
    expected = hashlib.sha256(b"die\n[CLS]\n[MASK]\n[PAD]\n[SEP]\n[UNK]\nzelle\n##n\n.").hexdigest()
    assert small.digest()[:2] == (9, expected)
    assert small.digest().tokenizer == small.tokenizer.digest()
    assert small.digest().spaces == general_spaces(lower_case=True).digest()
    small.symbols[0], small.symbols[6] = small.symbols[6], small.symbols[0]
    assert small.digest().size == 9
    assert small.digest().sha256 != expected


def test_digest_of_a_plain_dictionary(tmp_path: Path) -> None:
    (tmp_path / "dict.de.txt").write_text("die 7\n")
    digest = load_dictionary(str(tmp_path / "dict.de.txt")).digest()
    assert (digest.tokenizer, digest.spaces, digest.origin) == ("", "", str(tmp_path / "dict.de.txt"))


def test_spaces_are_counted_where_the_dictionary_is_saved(cased: Path, training: Sentences, tmp_path: Path) -> None:
    text = tmp_path / "train.de"
    text.write_text("".join(f"{line}\n" for line in training.german), encoding="utf-8")
    dictionary = load_dictionary(str(cased))
    dictionary.preprocessing = Preprocessing({}, {"dict.de.txt": text}, {})
    saved = {}
    for name in ("dict.de.txt", "dict.en.txt"):  # one dictionary for both languages, as fairseq's --joined-dictionary
        dictionary.save(str(tmp_path / name))
        saved[name] = load_dictionary(str(tmp_path / name))
    assert len({each.digest().spaces for each in saved.values()}) == 2
    line = next(line for line in training.german if ": " in line)
    german = saved["dict.de.txt"]
    assert german.decode(german.string(german.encode_line(line))) == line
    again = load_dictionary(str(tmp_path / "dict.de.txt"))
    text.write_text("a:b\n" * 9)  # a dictionary that was made for another text keeps its counts
    again.preprocessing = Preprocessing({}, {"dict.fr.txt": text}, {})
    again.save(str(tmp_path / "dict.fr.txt"))
    assert load_dictionary(str(tmp_path / "dict.fr.txt")).digest()[:4] == saved["dict.de.txt"].digest()[:4]


def test_dictionary_of_an_earlier_version_has_the_packages_spaces(cased: Path, tmp_path: Path) -> None:
    load_dictionary(str(cased)).save(str(tmp_path / "dict.de.txt"))
    (tmp_path / "dict.de.spaces.tsv").unlink()
    dictionary = load_dictionary(str(tmp_path / "dict.de.txt"))
    assert dictionary.digest().spaces == general_spaces(lower_case=False).digest()
    assert dictionary.decode("Datei , bitte .") == "Datei, bitte."


def test_damaged_counts_of_spaces_are_named(cased: Path, tmp_path: Path) -> None:
    load_dictionary(str(cased)).save(str(tmp_path / "dict.de.txt"))
    (tmp_path / "dict.de.spaces.tsv").write_text("")
    with pytest.raises(ValueError, match=names(f"{tmp_path}/dict.de.spaces.tsv", "version 1")):
        load_dictionary(str(tmp_path / "dict.de.txt"))


def test_no_tokenizer_of_an_earlier_dictionary_stays(cased: Path, tmp_path: Path) -> None:
    (tmp_path / "dict.de.sentencepiece.model").touch()
    (tmp_path / "dict.en.wordpiece.json").touch()
    (tmp_path / ".dict.de.txt.partial").mkdir()  # of a process that was killed
    load_dictionary(str(cased)).save(str(tmp_path / "dict.de.txt"))
    words = {"dict.de.txt", "dict.de.wordpiece.json", "dict.de.spaces.tsv"}
    assert {path.name for path in tmp_path.iterdir()} == {*words, "dict.en.wordpiece.json"}
    (tmp_path / "words").write_text("die 7\n")
    load_dictionary(str(tmp_path / "words")).save(str(tmp_path / "dict.de.txt"))
    assert {path.name for path in tmp_path.iterdir()} == {"dict.de.txt", "dict.en.wordpiece.json", "words"}


def test_evenly_spaced_lines(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("".join(f"{i}\n" for i in range(10)))
    assert [int(line) for line in evenly_spaced_lines(tmp_path / "text", 100)] == list(range(10))
    assert [int(line) for line in evenly_spaced_lines(tmp_path / "text", 4)] == [0, 3, 6, 9]


def test_a_target_is_written_as_its_raw_text(small: SubwordDictionary) -> None:
    ids = small.encode_line("die Katze .")
    other = small.encode_line("die zelle")
    batch = torch.tensor([[*ids.tolist(), 3], [*ids.tolist(), 3], [*other.tolist(), 3, 3]])
    small.references.expect(batch, ["Die  Katze.", "die \u732b.", "DIE Zelle"], small.pad())
    detokenizer = Detokenizer(small)
    texts = [detokenizer.decode(small.string(target, escape_unk=True)) for target in (ids, other, ids, ids)]
    assert texts == ["Die  Katze.", "DIE Zelle", "die \u732b.", "die <[UNK]>."]
    assert detokenizer.decode(small.string(ids)) == "die [UNK]."


def test_a_target_of_a_plain_dictionary_is_written_as_its_raw_text(tmp_path: Path) -> None:
    (tmp_path / "dict.de.txt").write_text("geöff@@ 3\nnet 2\n", encoding="utf-8")
    dictionary = load_dictionary(str(tmp_path / "dict.de.txt"))
    ids = dictionary.encode_line("geöff@@ net weit", add_if_not_exist=False)
    dictionary.references.expect(ids.unsqueeze(0), ["geöff@@ net weit"], dictionary.pad())
    assert dictionary.string(ids, "@@ ", escape_unk=True) == "geöffnet weit"


@pytest.mark.parametrize("kind", ["cased", "pieces"])
def test_detokenizer(kind: str, request: pytest.FixtureRequest) -> None:
    dictionary = load_dictionary(str(request.getfixturevalue(kind)))
    detokenizer = Detokenizer(dictionary)
    assert detokenizer.encode("Die  Datei, raw") == "Die  Datei, raw"
    symbols = dictionary.string(dictionary.encode_line("Die Datei wird geöffnet."))
    assert symbols.count(" ") > 3
    assert detokenizer.decode(symbols) == "Die Datei wird geöffnet."


def test_detokenizer_joins_the_other_sides_symbols_as_their_own_dictionary_does(cased: Path, pieces: Path) -> None:
    """fairseq gives it the source, too, for ``S-`` lines."""
    source, target = load_dictionary(str(cased)), load_dictionary(str(pieces))
    for dictionary, other in ((source, target), (target, source)):
        symbols = dictionary.string(dictionary.encode_line("Die Datei wird geöffnet."))
        assert Detokenizer(other).decode(symbols) == "Die Datei wird geöffnet."
        assert Detokenizer(other).decode(str(symbols).upper()) != "Die Datei wird geöffnet."


@pytest.mark.parametrize("symbol", ["sentencepiece", "wordpiece", "letter", "@@ ", "subword_nmt", "nonsense"])
@pytest.mark.parametrize("kind", ["cased", "pieces"])
def test_post_process_is_left_to_the_tokenizer(kind: str, symbol: str, request: pytest.FixtureRequest) -> None:
    dictionary = load_dictionary(str(request.getfixturevalue(kind)))
    ids = dictionary.encode_line("Die Datei wird geöffnet.")
    assert dictionary.string(ids, symbol) == dictionary.string(ids)
    assert dictionary.string(torch.stack([ids, ids]), symbol) == "\n".join([dictionary.string(ids)] * 2)


def test_post_process_of_a_plain_dictionary(tmp_path: Path) -> None:
    """As fairseq does it."""
    (tmp_path / "dict.de.txt").write_text("geöff@@ 3\nnet 2\nja 1\n", encoding="utf-8")
    dictionary = load_dictionary(str(tmp_path / "dict.de.txt"))
    ids = dictionary.encode_line("ja geöff@@ net", add_if_not_exist=False)
    assert dictionary.string(ids) == "ja geöff@@ net"
    assert dictionary.string(ids, "@@ ") == dictionary.string(ids, "subword_nmt") == "ja geöffnet"
    assert dictionary.string(ids, "wordpiece") == "jageöff@@net"


def test_detokenizer_leaves_split_text_alone() -> None:
    assert Detokenizer(BnbDictionary()).decode("▁die ##n .") == "▁die ##n ."
