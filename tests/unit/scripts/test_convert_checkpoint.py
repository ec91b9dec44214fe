"""What the converter is made of: vocabularies, fairseq's checkpoints, BERT directories and the comparison."""

import importlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bnb_fairseq.data.dictionary import SubwordDictionary, load_dictionary
from bnb_fairseq.models.seed_config import SpecialIds

SEED = Path(__file__).resolve().parents[2] / "fixtures" / "seed-checkpoint"
CONFIG = json.loads((SEED / "config.json").read_text())
LoadScript = Callable[[str], ModuleType]
Part = Callable[[str], Any]


@pytest.fixture(scope="module")
def script(load_script: LoadScript) -> ModuleType:
    return load_script("convert_checkpoint")


@pytest.fixture(scope="module")
def part(script: ModuleType) -> Part:
    """One of the modules that the converter is made of."""
    return lambda name: importlib.import_module(f"conversion.{name}")


@pytest.fixture
def numbered(part: Part) -> Callable[..., SubwordDictionary]:
    """A numbered dictionary with [PAD], [CLS] and [SEP] at some ids."""

    def make(size: int, *ids: int) -> SubwordDictionary:
        dictionary = part("vocabulary").numbered_dictionary(size, SpecialIds(*ids))
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


def test_vocabularies_that_are_named(part: Part, tmp_path: Path) -> None:
    choose = part("vocabulary").choose_dictionaries
    source = write_vocabulary(tmp_path / "source", 90, ("[PAD]", "[UNK]", "x", "y", "[CLS]", "[SEP]"))
    target = write_vocabulary(tmp_path / "target", 110)
    dictionaries = choose(CONFIG, SEED, str(source), str(target / "vocab.txt"))
    assert [len(dictionary) for dictionary in dictionaries] == [90, 110]
    assert dictionaries[0].bos() == 4  # the configuration tells [CLS] and [SEP] of the target only


def test_the_seeds_own_vocabulary_or_numbers(part: Part, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    choose = part("vocabulary").choose_dictionaries
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


def test_all_that_does_not_fit_a_vocabulary_is_in_one_error(part: Part, tmp_path: Path) -> None:
    source = write_vocabulary(tmp_path / "source", 91, ("x", "[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    target = write_vocabulary(tmp_path / "target", 1234, ("[PAD]", "[UNK]", "[SEP]", "[CLS]"))
    message = (
        f"--source-vocab must have the checkpoint's 90 symbols, but {source} has 91; "
        f"--source-vocab must have [PAD] at id 0, but {source} has it at 1; "
        f"--target-vocab must have the checkpoint's 110 symbols, but {target} has 1,234; "
        f"--target-vocab must have [CLS] at id 2, but {target} has it at 3; "
        f"--target-vocab must have [SEP] at id 3, but {target} has it at 2"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        part("vocabulary").choose_dictionaries(CONFIG, SEED, str(source), str(target))


def test_no_vocabulary(part: Part, tmp_path: Path) -> None:
    message = f"--source-vocab must name a BERT vocabulary, but is {tmp_path}: {tmp_path}: the directory holds neither"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        part("vocabulary").choose_dictionaries(CONFIG, SEED, str(tmp_path), None)


@pytest.mark.parametrize(("wanted", "expected"), [(None, 64), (1, 1), (24, 24), (64, 64)])
def test_canvas_length(wanted: int | None, expected: int, part: Part) -> None:
    assert part("seed").canvas_length(CONFIG, wanted) == expected


def test_canvas_length_of_a_large_model_and_beyond_the_positions(part: Part) -> None:
    sides = {side: {**CONFIG[side], "max_position_embeddings": n} for side, n in (("encoder", 512), ("decoder", 130))}
    assert part("seed").canvas_length({**CONFIG, **sides}, None) == 128
    for wanted in (0, -3, 131):
        message = f"^--canvas-length must lie between 1 and the checkpoint's 130 positions, but is {wanted}$"
        with pytest.raises(ValueError, match=message):
            part("seed").canvas_length({**CONFIG, **sides}, wanted)


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "difference", "relative", "ok"),
    [
        ("logits", [1.0, 2.0], [1.0, 2.25], 0.25, None, True),
        ("logits", [1.0, 2.0], [1.0, 2.5], 0.5, None, False),
        ("logits", [1.0, float("nan")], [1.0, 2.0], float("nan"), None, False),
        ("argmax", [1, 2, 3], [1, 3, 2], 2, None, False),
        ("argmax", [1, 2, 3], [1, 2, 3], 0, None, True),
        ("ctc_loss", [-8.0], [-8.0], 0.0, 0.0, True),
        ("kl_vae", [8.0], [-4.0], 12.0, 3.0, False),
        ("kl_uniform", [1.0 + 2**-18], [1.0], 2**-18, 2**-18, True),
        ("kl_uniform", [1.0 + 2**-16], [1.0], 2**-16, 2**-16, False),
        ("ctc_loss", [float("nan")], [1.0], float("nan"), float("nan"), False),
    ],
)
def test_comparison(
    name: str,
    ours: list[float],
    theirs: list[float],
    difference: float,
    relative: float | None,
    ok: bool,
    part: Part,
) -> None:
    row = part("verification").compare(name, torch.tensor(ours), torch.tensor(theirs), 0.25)
    assert row.shape == (len(ours),)
    assert row.difference == pytest.approx(difference, nan_ok=True, rel=0, abs=0)
    assert (row.relative is None) == (relative is None)
    if relative is not None:
        assert row.relative == pytest.approx(relative, nan_ok=True, rel=0, abs=0)
    assert row.ok == ok


def test_table(part: Part) -> None:
    row = part("verification").Row
    logits, argmax = row("logits", (5, 24, 110), 1.5e-6, None, 1e-4), row("argmax", (5, 24), 3.0, None, 0.0)
    lines = part("verification").table([logits, argmax, row("ctc_loss", (1,), 0.02, 0.001, 1e-5)])
    assert lines == [
        "tensor          shape             difference    relative   tolerance  ok",
        "logits          5 x 24 x 110        1.50e-06                   1e-04  yes",
        "argmax          5 x 24                     3                   0e+00  NO",
        "ctc_loss        1                   2.00e-02    1.00e-03       1e-05  NO",
    ]


def spoil(tensors: dict[str, Tensor]) -> None:
    del tensors["kl_vae"], tensors["labels"]
    tensors["token_type_ids"] = torch.zeros(5, 24)
    tensors["attention_mask"][2, -1] = 1


def to_left(tensors: dict[str, Tensor]) -> None:
    for name in ("input_ids", "attention_mask"):
        tensors[name] = tensors[name].flip(1).contiguous()


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (
            spoil,
            [
                "labels is missing",
                "kl_vae is missing",
                "token_type_ids is not known here",
                "attention_mask must be 0 where input_ids is [PAD] (0), on the right, and 1 elsewhere",
            ],
        ),
        (to_left, ["attention_mask must be 0 where input_ids is [PAD] (0), on the right, and 1 elsewhere"]),
        (lambda t: t["labels"].add_(110), ["labels must lie between 0 and 109, but goes to 213"]),
        (
            lambda t: t.update(input_ids=t["input_ids"].float()),
            ["input_ids and attention_mask must be int64 matrices of the same shape, with rows"],
        ),
        (
            lambda t: t.update(logits=torch.zeros(5, 24, 109), latent=torch.zeros(5, 24, 8)),
            [
                "latent has shape (5, 24, 8), but must have (5, 24, 16)",
                "logits has shape (5, 24, 109), but must have (5, 24, 110)",
            ],
        ),
    ],
)
def test_inputs_that_do_not_fit_are_in_one_error(
    change: Callable[[dict[str, Tensor]], object], problems: list[str], part: Part, tmp_path: Path
) -> None:
    tensors = load_file(SEED / "expected.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=f"^{re.escape(f'{tmp_path}/x.safetensors: ' + '; '.join(problems))}$"):
        part("verification").verify(SEED, tmp_path / "x.safetensors", 1e-4)


def test_verification_of_the_fixture(part: Part, tmp_path: Path) -> None:
    rows = part("verification").verify(SEED, SEED / "expected.safetensors", 1e-5)
    assert [row.name for row in rows] == [
        "encoder_hidden",
        "latent",
        "logits",
        "argmax",
        "ctc_loss",
        "kl_uniform",
        "kl_vae",
    ]
    assert all(row.ok for row in rows), part("verification").table(rows)
    shutil.copytree(SEED, tmp_path / "vae")
    (tmp_path / "vae" / "config.json").write_text(json.dumps({**CONFIG, "is_vae": True, "dropout_prob": 0.5}))
    assert part("verification").verify(tmp_path / "vae", SEED / "expected.safetensors", 1e-5) == rows
