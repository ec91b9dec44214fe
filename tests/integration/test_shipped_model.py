"""The model of examples/techdoc-en-de: what it writes, its size, and the commands that the README shows."""

import lzma
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu import corpus_bleu

from bnb_fairseq import Translator

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "techdoc-en-de"
MODEL = EXAMPLE / "model"
LARGEST = 25_000_000  # bytes


@pytest.fixture(scope="module")
def translator() -> Translator:
    for package in ("onnxruntime", "kenlm"):
        pytest.importorskip(package)
    return Translator.load(MODEL)


def test_size() -> None:
    assert sum(file.stat().st_size for file in MODEL.rglob("*") if file.is_file()) <= LARGEST


@pytest.mark.parametrize(("search", "least"), [("auto", 44.0), ("none", 37.5)])
def test_bleu_of_the_shipped_test_part(search: str, least: float, translator: Translator) -> None:
    """Its training data have two of these 602 English sentences, if only letters count."""
    with lzma.open(EXAMPLE / "data" / "test.tsv.xz", "rt", encoding="utf-8") as lines:
        pairs = [line.rstrip("\n").split("\t") for line in lines]
    found = [one.text for one in translator.translate([pair[0] for pair in pairs], search=search)]
    assert corpus_bleu(found, [[pair[1] for pair in pairs]]).score > least


def test_the_command_of_the_readme(translator: Translator) -> None:
    line = [sys.executable, "-m", "bnb_fairseq.cli.translate", str(MODEL)]
    found = subprocess.run(line, input="Open the file.\n", capture_output=True, text=True, check=True)
    assert found.stdout == "Öffnen Sie die Datei.\n"
    assert found.stdout[:-1] == translator.translate(["Open the file."])[0].text
