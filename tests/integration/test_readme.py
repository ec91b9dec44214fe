"""The README's commands, typed in order: from plain text to a scored translation, and from a checkpoint to Python."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ..conftest import ROOT
from . import forked
from .conftest import make_bert
from .experiments import blocks, lines

README = ROOT / "README.md"
PARTS = {"train": 200, "valid": 8, "test": 8}
QUICK = {"--max-update": "5", "--validate-interval-updates": "5", "--save-interval-updates": "5", "--max-tokens": "512"}
UNTHREADED = ["--num-workers", "0", "--data-buffer-size", "0"]

Data = Callable[[str, int], list[tuple[str, str]]]
Write = Callable[[Path, Sequence[str]], Path]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, small_data: Data, write: Write) -> Path:
    """A folder with the raw text that the README asks for, and small BERTs of the names that it downloads."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "bnb_fairseq").symlink_to(ROOT / "bnb_fairseq")
    (folder / "data").mkdir()
    for part, pairs in PARTS.items():
        rows = small_data(part, pairs)
        for i, side in enumerate(("en", "de")):
            write(folder / "data" / f"{part}.{side}", [row[i] for row in rows])
    text = [folder / "data" / f"train.{side}" for side in ("en", "de")]
    bert = make_bert(folder / "tiny", text, symbols=600, width=32, layers=2, positions=512)
    for name in set(re.findall(r"bert-base-[\w-]+", README.read_text(encoding="utf-8"))):
        (folder / name).symlink_to(bert)
    return folder


def shortened(words: Sequence[str], cuda: bool) -> list[str]:
    """A training of a few updates, with the option that the README has for a machine without a GPU."""
    if words[0] != "fairseq-train":
        return list(words)
    wanted = [QUICK.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    return [*([word if word != "--fp16" or cuda else "--cpu" for word in wanted]), *UNTHREADED]


@pytest.mark.slow
def test_from_text_to_a_score_and_to_python(workplace: Path, device: str) -> None:
    pytest.importorskip("kenlm")
    cuda = device == "cuda"
    translate, install, train = blocks(README, "bash")
    assert "bootstrap.sh" in install
    printed = {}
    for i, line in enumerate(lines(train)):
        output = workplace / (line.output or f"{i}.log")
        printed[line.words[0]] = forked.run(shortened(line.words, cuda), workplace, output, cuda=cuda)
    assert list(printed) == [
        *("fairseq-preprocess", "fairseq-train", "bnb-ngram", "bnb-tune", "bnb-export", "bnb-translate", "bnb-score")
    ]
    assert re.search(r"\nbest: --ctc-beam \d+ ", printed["bnb-tune"])
    assert (workplace / "output.txt").read_text(encoding="utf-8").count("\n") == PARTS["test"]
    assert re.search(r"\| bnb \| +[\d.]+ \|", printed["bnb-score"])

    (workplace / "examples").symlink_to(ROOT / "examples")
    (script,) = blocks(README, "python")
    (workplace / "translate.py").write_text(script, encoding="utf-8")
    shown = forked.run(["python", "translate.py"], workplace, workplace / "python.log", cuda=cuda)
    said = re.search(r'^echo "(.+)" \| bnb-translate (\S+) +# (.+)$', translate, flags=re.MULTILINE)
    assert said is not None and said[1] in script and said[2] in script
    assert shown.splitlines()[-1:] == [said[3]]
