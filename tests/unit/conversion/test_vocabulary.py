"""Vocabularies of seed checkpoints."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from bnb_fairseq.conversion import vocabulary
from bnb_fairseq.conversion.seed_config import SpecialIds
from bnb_fairseq.data.dictionary import SubwordDictionary, load_dictionary

from ...facts import naming

SEED = Path(__file__).resolve().parents[2] / "fixtures" / "seed-checkpoint"
CONFIG = json.loads((SEED / "config.json").read_text())


@pytest.fixture
def numbered() -> Callable[..., SubwordDictionary]:
    """A numbered dictionary with [PAD], [CLS] and [SEP] at some ids."""

    def make(size: int, *ids: int) -> SubwordDictionary:
        dictionary = vocabulary.numbered_dictionary(size, SpecialIds(*ids))
        assert isinstance(dictionary, SubwordDictionary)
        return dictionary

    return make


@pytest.mark.parametrize(
    ("size", "ids", "unk", "mask"),
    [(110, (0, 2, 3), 1, 109), (90, (0, 1, 2), 3, 89), (6, (0, 5, 4), 1, 3), (30522, (0, 101, 102), 1, 30521)],
)
def test_numbered_dictionary(
    size: int, ids: tuple[int, int, int], unk: int, mask: int, numbered: Callable[..., SubwordDictionary]
) -> None:
    dictionary = numbered(size, *ids)
    assert len(dictionary) == size
    assert (dictionary.pad(), dictionary.bos(), dictionary.eos()) == ids
    assert (dictionary.unk(), dictionary.mask()) == (unk, mask)
    words = [i for i in range(size) if i not in (*ids, unk, mask)]
    text = " ".join(f"w{i}" for i in words)
    assert dictionary.encode_line(text).tolist() == [*words, ids[2]]
    assert dictionary.encode_line(f"w{unk} w{mask} w{mask}").tolist() == [unk, mask, mask, ids[2]]
    assert dictionary.string(torch.tensor([*ids, mask, *words])) == text
    assert dictionary.decode(text) == text


def test_numbered_dictionary_knows_no_other_words(numbered: Callable[..., SubwordDictionary], tmp_path: Path) -> None:
    dictionary = numbered(110, 0, 2, 3)
    text = "w0 w2 w3 w1 w110 w1090 w1000 W7 w xw109 w7w8 seven w7 w7."
    expected = [*[1] * 12, 7, 1, 3]
    assert dictionary.encode_line(text).tolist() == expected
    dictionary.save(str(tmp_path / "dict.src.txt"))
    loaded = load_dictionary(str(tmp_path / "dict.src.txt"))
    assert not loaded.digest().differences(dictionary.digest())
    assert loaded.encode_line(text).tolist() == expected


@pytest.mark.parametrize(("size", "ids"), [(110, (0, 2, 2)), (110, (0, 2, 110)), (4, (0, 1, 2))])
def test_special_symbols_that_do_not_fit(
    size: int, ids: tuple[int, int, int], numbered: Callable[..., SubwordDictionary]
) -> None:
    with pytest.raises(ValueError, match=rf"^a vocabulary of {size} symbols cannot have \[PAD\], \[CLS\] and \[SEP\]"):
        numbered(size, *ids)


def write_vocabulary(folder: Path, size: int, specials: Sequence[str] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")) -> Path:
    folder.mkdir(exist_ok=True)
    words = [*specials, "[MASK]", *(f"v{i}" for i in range(size - len(specials) - 1))]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    return folder


def test_vocabularies_that_are_named(tmp_path: Path) -> None:
    choose = vocabulary.choose_dictionaries
    source = write_vocabulary(tmp_path / "source", 90, ("[PAD]", "[UNK]", "x", "y", "[CLS]", "[SEP]"))
    target = write_vocabulary(tmp_path / "target", 110)
    dictionaries = choose(CONFIG, SEED, str(source), str(target / "vocab.txt"))
    assert [len(dictionary) for dictionary in dictionaries] == [90, 110]
    assert dictionaries[0].bos() == 4  # the configuration tells [CLS] and [SEP] of the target only


def test_the_seeds_own_vocabulary_or_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    choose = vocabulary.choose_dictionaries
    source, target = choose(CONFIG, SEED, None, None)
    assert (source.symbols[:4], source.symbols[76], source.symbols[89]) == (
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
        "w76",
        "[MASK]",
    )
    assert len(target) == 110
    assert [record.message for record in caplog.records] == [
        f"{SEED} has no tokenizer and --{side}-vocab is not given: symbol i is the word w<i>"
        for side in ("source", "target")
    ]
    caplog.clear()
    write_vocabulary(tmp_path, 110)
    config = {**CONFIG, "encoder": {**CONFIG["encoder"], "vocab_size": 110}}
    source, target = choose(config, tmp_path, None, None)
    assert source.symbols[5:7] == target.symbols[5:7] == ["v0", "v1"]
    assert not [record for record in caplog.records if "has no tokenizer" in record.message]


def test_all_that_does_not_fit_a_vocabulary_is_in_one_error(tmp_path: Path) -> None:
    source = write_vocabulary(tmp_path / "source", 91, ("x", "[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    target = write_vocabulary(tmp_path / "target", 1234, ("[PAD]", "[UNK]", "[SEP]", "[CLS]"))
    problems = (
        f"--source-vocab ... 90 ... {source} ... 91",
        f"--source-vocab ... [PAD] ... 0 ... {source} ... 1",
        f"--target-vocab ... 110 ... {target} ... 1,234",
        f"--target-vocab ... [CLS] ... 2 ... {target} ... 3",
        f"--target-vocab ... [SEP] ... 3 ... {target} ... 2",
    )
    with pytest.raises(ValueError, match=naming(*problems)):
        vocabulary.choose_dictionaries(CONFIG, SEED, str(source), str(target))


def test_no_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=naming(f"--source-vocab ... {tmp_path}: {tmp_path}: ... neither")):
        vocabulary.choose_dictionaries(CONFIG, SEED, str(tmp_path), None)
