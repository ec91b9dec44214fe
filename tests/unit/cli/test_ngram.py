"""The command that trains n-gram models, on text and on data-bin folders."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import indexed_dataset

from bnb_fairseq.cli import ngram
from bnb_fairseq.data.dictionary import BnbDictionary, load_data_bin
from bnb_fairseq.generation.ngram import NgramScorer, ngram_words

from ...facts import says
from ..generation.slow_ngram import SlowNgrams

TEXT = ["▁the ▁cat ▁sat", "▁the ▁dog ▁sat ▁down", "", "▁the ▁cat ▁sa w <unk>", "▁a ▁cat"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "train.txt"
    path.write_text("".join(f"{line}\n" for line in TEXT), encoding="utf-8")
    return path


def store(folder: Path, name: str, sentences: Sequence[Sequence[int]]) -> None:
    builder = indexed_dataset.make_builder(str(folder / f"{name}.bin"), "mmap", 100)
    for sentence in sentences:
        builder.add_item(torch.tensor(sentence, dtype=torch.int32))
    builder.finalize(str(folder / f"{name}.idx"))


@pytest.fixture
def data_bin(tmp_path: Path) -> Path:
    """The same sentences as ``TEXT`` on the target side, and a symbol that none of them has."""
    folder = tmp_path / "data-bin"
    folder.mkdir()
    dictionary = BnbDictionary()
    for symbol in sorted({word for line in TEXT for word in line.split()} - {"<unk>"}):
        dictionary.add_symbol(symbol)
    dictionary.add_symbol("▁never")
    dictionary.add_mask()
    for language in ("src", "tgt"):
        dictionary.save(str(folder / f"dict.{language}.txt"))
    ids = [[dictionary.index(word) for word in line.split()] + [dictionary.eos()] for line in TEXT]
    store(folder, "train.src-tgt.tgt", ids)
    store(folder, "train.src-tgt.src", [[5, 5, 2]] * len(ids))
    store(folder, "dev.src-tgt.tgt", ids[1:3])
    return folder


def run(*arguments: object) -> None:
    ngram.COMMAND.execute([str(argument) for argument in arguments])


def test_text(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(text, "--order", 3, "--output", tmp_path / "x.arpa")
    found = SlowNgrams(tmp_path / "x.arpa")
    words = {word for line in TEXT for word in line.split()}
    assert {ngram[0] for ngram in found.probs if len(ngram) == 1} == {"<s>", "</s>"} | words
    assert ("<s>", "▁the", "▁cat") in found.probs
    assert ("<s>", "</s>") in found.probs
    assert found.score(["<s>", "▁the"], "▁cat") > found.score(["<s>", "▁the"], "▁dog") > found.score(["<s>"], "w")
    output = capsys.readouterr().out
    assert "read: 5 sentences, 14 symbols, 11 different ones" in output
    assert "counted: 11 n-grams of order 1" in output
    assert "order 3: discounts 0.500, 1.000, 1.500 (fixed: the text is too small to estimate them)" in output
    assert re.search(r"written: \d+ n-grams of order 3\n.*x\.arpa: 0\.0 MB\n$", output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.txt", "x.arpa"]


def test_data_bin_gives_what_its_text_gives(data_bin: Path, text: Path, tmp_path: Path) -> None:
    """But for the symbol that the text does not have, of which the dictionary knows."""
    run(data_bin, "--order", 2, "--output", tmp_path / "folder.arpa")
    run(text, "--order", 2, "--output", tmp_path / "text.arpa")
    folder, plain = SlowNgrams(tmp_path / "folder.arpa"), SlowNgrams(tmp_path / "text.arpa")
    assert folder.probs.keys() - plain.probs.keys() == {("▁never",)}
    assert not plain.probs.keys() - folder.probs.keys()
    assert folder.backoffs == {**plain.backoffs, ("▁never",): 0.0}
    # 11 predictable words in place of 10 share what the discounts of single words take.
    own = 10 ** plain.probs[("▁a",)] - 10 ** plain.probs[("<unk>",)]
    assert 10 ** folder.probs[("▁a",)] - 10 ** folder.probs[("<unk>",)] == pytest.approx(own, abs=1e-7)
    total = sum(10 ** folder.score(["▁the"], word) for (word,) in (n for n in folder.probs if len(n) == 1))
    assert total == pytest.approx(1, rel=0, abs=1e-6)


def test_other_side(data_bin: Path, tmp_path: Path) -> None:
    run(data_bin, "--order", 1, "--target-lang", "src", "--output", tmp_path / "x.arpa")
    word = load_data_bin(data_bin, ["src"])[0][5]
    probs = SlowNgrams(tmp_path / "x.arpa").probs
    assert max(probs, key=lambda ngram: probs[ngram]) == (word,)


def test_scorer_takes_it(data_bin: Path, tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    run(data_bin, "--order", 3, "--output", tmp_path / "x.arpa")
    (dictionary,) = load_data_bin(data_bin, ["tgt"])
    scorer = NgramScorer(str(tmp_path / "x.arpa"), ngram_words(dictionary), 1.0)
    tokens = np.array([[dictionary.index("▁the"), dictionary.index("w")]])
    wanted = np.ones((1, 1, 2), bool)
    scores, _ = scorer.extend(np.array([[scorer.start()]]), tokens, wanted)
    assert float(scores[0, 0, 0]) > float(scores[0, 0, 1])


def test_perplexity(data_bin: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("kenlm")
    held_out = tmp_path / "valid.txt"
    held_out.write_text(f"{TEXT[1]} ▁new\n\n", encoding="utf-8")
    run(text, "--order", 2, "--output", tmp_path / "x.arpa", "--valid", held_out)
    slow = SlowNgrams(tmp_path / "x.arpa")
    words = [*TEXT[1].split(), "<unk>"]
    logs = [slow.score(["<s>", *words[:i]], word) for i, word in enumerate([*words, "</s>"])]
    expected = 10 ** (-(sum(logs) + slow.score(["<s>"], "</s>")) / 7)
    assert f"{held_out}: perplexity {expected:.2f} over 7 symbols, 1 of them unknown" in capsys.readouterr().out
    run(data_bin, "--order", 2, "--output", tmp_path / "x.arpa", "--valid", "dev")
    assert re.search(r"dev: perplexity [\d.]+ over 6 symbols, 0 of them unknown", capsys.readouterr().out)


def test_the_same_output_again(text: Path, tmp_path: Path) -> None:
    for name in ("x.arpa", "y.arpa", "x.arpa"):
        run(text, "--output", tmp_path / name)
    assert (tmp_path / "x.arpa").read_bytes() == (tmp_path / "y.arpa").read_bytes()


def test_options_that_cannot_be(text: Path, data_bin: Path, tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    output = tmp_path / "x.arpa"

    def error(*arguments: object) -> str:
        with pytest.raises(ValueError) as caught:
            run(*arguments)
        return str(caught.value)

    message = error(text, "--order", 7, "--min-count", 0, "--output", tmp_path / "no" / "x.arpa")
    faults = (
        "--order ... from 1 to 6 ... 7; --min-count ... at least 1 ... 0; "
        f"--output ... a folder that exists ... {tmp_path / 'no'}"
    )
    assert says(message, faults)
    folder = f"... a part of {data_bin} (dev, train) ..."
    found = error(data_bin, "--subset", "test", "--valid", "x", "--output", output)
    assert says(found, f"--subset {folder} test; --valid {folder} x")
    missing = tmp_path / "missing"
    found = error(missing, "--output", output)
    assert says(found, f"DATA ... a folder made by fairseq-preprocess or a text file ... {missing}")
    assert says(error(text, "--output", text), f"--output ... DATA ... {text}")
    assert says(error(text, "--valid", missing, "--output", output), f"--valid ... a text file ... {missing}")
    assert error(data_bin, "--target-lang", "fr", "--output", output).endswith("was it made for another language pair?")
    assert not output.exists()


def test_without_kenlm(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the perplexity needs it."""
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(ValueError, match=r"^--valid needs KenLM.*pip install kenlm"):
        run(text, "--valid", text, "--output", text.with_name("x.arpa"))
    assert not text.with_name("x.arpa").exists()
    run(text, "--output", text.with_name("x.arpa"))
    assert text.with_name("x.arpa").is_file()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"DATA .* symbols"),
        (b"\n\n", r"DATA .* symbols"),
        (b"a b\na </s> b\n", r"train\.txt, line 2: .* <s> or </s>"),
        (b"a b\n<s> b\n", r"train\.txt, line 2: .* <s> or </s>"),
        (b"\xff\xfe\n", r"train\.txt .* UTF-8"),
    ],
)
def test_text_that_cannot_be(text: Path, content: bytes, message: str) -> None:
    text.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        run(text, "--output", text.with_name("x.arpa"))
    assert not text.with_name("x.arpa").exists()


def test_an_error_is_one_line(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bnb-ngram", str(text), "--order", "0", "--output", str(text) + ".arpa"])
    with pytest.raises(SystemExit, match=r"^bnb-ngram: --order.*from 1 to 6.*0$"):
        ngram.main()
