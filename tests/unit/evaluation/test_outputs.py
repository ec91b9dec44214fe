"""Translations and speed in what fairseq-generate wrote."""

from pathlib import Path

import pytest

from bnb_fairseq.evaluation.outputs import find_speed, read_translations

OUTPUT = """2024-01-01 | INFO | fairseq_cli.generate | loading model(s)
S-1\tthe mat
T-1\tdie Matte
H-1\t-0.5\t▁die ▁Matte
D-1\t-0.5\tdie Matte
D-0\t-1.25\tdie Katze  saß
P-0\t-1.25 -1.0
D-2\t0.0\t
D-10\t-3.0\tD-11\tmit Tabulator
INFO | fairseq_cli.generate | Translated 1,234 sentences (5,678 tokens) in 2.0s (1,612.51 sentences/s, 99 tokens/s)
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_translations_are_in_the_order_of_the_data(tmp_path: Path) -> None:
    output = write(tmp_path / "out.txt", OUTPUT.replace("D-10\t-3.0\tD-11\tmit Tabulator\n", "D-3\t-1\tx\u2028y\n"))
    assert read_translations(output, 4) == ["die Katze  saß", "die Matte", "", "x\u2028y"]


def test_best_hypothesis_counts(tmp_path: Path) -> None:
    output = write(tmp_path / "out.txt", "D-0\t-1\tbest\nD-0\t-2\tsecond\n")
    assert read_translations(output, 1) == ["best"]


@pytest.mark.parametrize(
    ("sentences", "faults"),
    [
        (12, "first missing: [3, 4, 5, 6, 7]"),
        (4, "first missing: [3], first in excess: [10]"),
        (3, "first in excess: [10]"),
        (1, "first in excess: [1, 2, 10]"),
    ],
)
def test_other_sentences_than_the_references_are_refused(sentences: int, faults: str, tmp_path: Path) -> None:
    output = write(tmp_path / "out.txt", OUTPUT.replace("\tD-11\tmit Tabulator", "\tmehr"))
    with pytest.raises(ValueError) as caught:
        read_translations(output, sentences)
    assert str(caught.value) == f"{output} holds 4 translations, not {sentences}; {faults}"


def test_a_text_has_a_translation_in_each_line(tmp_path: Path) -> None:
    output = write(tmp_path / "out.txt", "D-Link\n\nP-3 x\n")
    assert read_translations(output, 3) == ["D-Link", "", "P-3 x"]
    with pytest.raises(ValueError, match="holds 0 translations, not 4"):
        read_translations(output, 4)


def test_speed(tmp_path: Path) -> None:
    assert find_speed(write(tmp_path / "out.txt", OUTPUT)) == 1612.51
    assert find_speed(write(tmp_path / "out.txt", "D-0\t-1\tx\n")) is None
