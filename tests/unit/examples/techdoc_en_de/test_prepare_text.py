"""Raw text and a SentencePiece model from .tsv.xz files."""

import lzma
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import sentencepiece

from ....facts import naming


@pytest.fixture(scope="module")
def prepare(load_script: Callable[..., ModuleType]) -> ModuleType:
    return load_script("prepare_text", "examples/techdoc-en-de")


def write_rows(path: Path, rows: Sequence[str]) -> Path:
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.writelines(f"{row}\n" for row in rows)
    return path


def test_write_part(prepare: ModuleType, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "x.tsv.xz", ["one\teins\torigin", "two \u2028 parts\tzwei Größen", "\t"])
    prepare.write_part(prepare.read_part(rows), tmp_path / "valid.v2", ["en", "de"])
    assert (tmp_path / "valid.v2.en").read_bytes() == "one\ntwo \u2028 parts\n\n".encode()
    assert (tmp_path / "valid.v2.de").read_bytes() == "eins\nzwei Größen\n\n".encode()


def test_row_with_one_column(prepare: ModuleType, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "x.tsv.xz", ["one\teins", "two", "three"])
    with pytest.raises(ValueError, match=naming(f"{rows}, row 2: ... two columns")):
        prepare.read_part(rows)


@pytest.mark.parametrize("content", [b"one\teins\n", b"", lzma.compress(b"\xff\n"), lzma.compress(b"a\tb\n")[:-9]])
def test_file_that_is_no_compressed_text(content: bytes, prepare: ModuleType, tmp_path: Path) -> None:
    rows = tmp_path / "x.tsv.xz"
    rows.write_bytes(content)
    with pytest.raises(ValueError, match=naming(f"{rows} ... UTF-8 ... xz")):
        prepare.read_part(rows)


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


@pytest.fixture
def error(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run the command; the line with which it ends."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["prepare_text.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            prepare.main()
        return str(ended.value.code)

    return run


def test_arguments_that_cannot_be(error: Callable[..., str], tmp_path: Path) -> None:
    missing, file = tmp_path / "missing", write_rows(tmp_path / "x.valid.tsv.xz", [])
    names = "x.train.tsv.xz, x.valid.tsv.xz, x.test.tsv.xz"
    assert error(missing, tmp_path / "new", "--prefix", "x.") == (
        f"prepare_text: DATA must be a folder with {names}, but {missing} lacks {names}"
    )
    assert error(tmp_path, file, "--prefix", "x.", "--symbols", 0) == (
        f"prepare_text: DATA must be a folder with {names}, but {tmp_path} lacks x.train.tsv.xz, x.test.tsv.xz; "
        f"OUTPUT must be a folder, but is {file}; --symbols must be at least 1, but is 0"
    )
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_is_written_unless_all_can_be(prepare: ModuleType, error: Callable[..., str], tmp_path: Path) -> None:
    """Four characters, the mark of a word, and three symbols of SentencePiece's own: at least 8 symbols."""
    data, output = tmp_path / "data", tmp_path / "new" / "text"
    data.mkdir()
    for part in ("train", "valid", "test"):
        write_rows(data / f"{part}.tsv.xz", ["x\tabcd", "x\tbadc cd", "x\tab dc ab"])
    suffix = "for the target side of the training part, but is"
    assert error(data, output, "--symbols", 7) == f"prepare_text: --symbols must be at least 8 {suffix} 7"
    most = re.fullmatch(
        rf"prepare_text: --symbols must be at most (\d+) {suffix} 4000", error(data, output, "--symbols", 4000)
    )
    assert most is not None
    write_rows(data / "test.tsv.xz", ["x"])
    assert error(data, output, "--symbols", 8).startswith(f"prepare_text: {data / 'test.tsv.xz'}, row 1: ")
    write_rows(data / "test.tsv.xz", ["x\ty"])
    write_rows(data / "train.tsv.xz", ["x\t "])
    assert error(data, output, "--symbols", 8) == (
        f"prepare_text: {data / 'train.tsv.xz'} must have text on its target side, but has none"
    )
    assert not output.parent.exists()
    texts = ["abcd", "badc cd", "ab dc ab"]
    for size in (8, int(most[1])):  # what the errors say is right
        model = sentencepiece.SentencePieceProcessor(model_proto=prepare.train_model(texts, size, "texts"))
        assert model.GetPieceSize() == size
