"""Raw text and a SentencePiece model from .tsv.xz files."""

import lzma
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import sentencepiece


@pytest.fixture(scope="module")
def prepare(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("prepare_text")


def write_rows(path: Path, rows: Sequence[str]) -> Path:
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.writelines(f"{row}\n" for row in rows)
    return path


def test_write_part(prepare: ModuleType, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "x.tsv.xz", ["one\teins\torigin", "two \u2028 parts\tzwei Größen", "\t"])
    assert prepare.write_part(rows, tmp_path / "valid.v2", ["en", "de"]) == 3
    assert (tmp_path / "valid.v2.en").read_bytes() == "one\ntwo \u2028 parts\n\n".encode()
    assert (tmp_path / "valid.v2.de").read_bytes() == "eins\nzwei Größen\n\n".encode()


def test_row_with_one_column(prepare: ModuleType, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "x.tsv.xz", ["one\teins", "two", "three"])
    message = f"{rows}, row 2: a row must have at least two columns separated by a tab"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        prepare.write_part(rows, tmp_path / "x", ["en", "de"])
    assert [path.name for path in tmp_path.iterdir()] == ["x.tsv.xz"]


def test_main(
    prepare: ModuleType,
    small_data: Callable[[str, int], list[tuple[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = {"train": 1200, "valid": 20, "test": 30}
    pairs = {part: small_data(part, size) for part, size in sizes.items()}
    for part, rows in pairs.items():
        write_rows(tmp_path / f"small.{part}.tsv.xz", [f"{source}\t{target}\tx" for source, target in rows])
    text = tmp_path / "new" / "text"
    options = ["--languages", "src", "tgt", "--symbols", "300", "--prefix", "small."]
    monkeypatch.setattr(sys, "argv", ["prepare_text.py", str(tmp_path), str(text), *options])
    prepare.main()
    for part, rows in pairs.items():
        for side, language in enumerate(("src", "tgt")):
            lines = (text / f"{part}.{language}").read_text(encoding="utf-8").removesuffix("\n").split("\n")
            assert lines == [row[side] for row in rows]
    model = sentencepiece.SentencePieceProcessor(model_file=str(text / "tgt.model"))
    assert model.GetPieceSize() == 300
    characters = set("".join(target for _, target in pairs["train"])) & set("äöüßÄÖÜ{}_")
    assert len(characters) > 7
    assert all(model.PieceToId(character) != model.unk_id() for character in characters)
    assert "train: 1,200 pairs from" in capsys.readouterr().out
