"""What ``fairseq-preprocess`` is told before it reads broken text."""

import sys
from pathlib import Path

import pytest

from bnb_fairseq.data.preflight import check_lines, check_parallel, check_preprocessing_command, count_lines

from ...facts import names


@pytest.mark.parametrize(
    ("content", "lines"),
    [(b"", 0), (b"\n", 1), (b"one\ntwo\n", 2), (b"one\ntwo", 2), ("ein\u2028Satz\x0bhier\r\nzwei\n".encode(), 2)],
)
def test_count_lines(content: bytes, lines: int, tmp_path: Path) -> None:
    """Only the newline ends a line, with or without a carriage return; ``splitlines`` knows more line ends."""
    (tmp_path / "x.de").write_bytes(content)
    assert count_lines(tmp_path / "x.de", "--trainpref") == lines


@pytest.mark.parametrize(
    ("content", "line", "byte", "column"),
    [
        (b"\xff", 1, "0xff", 1),
        (b"eins\nzw\xe9i\ndrei\n", 2, "0xe9", 3),
        (b"eins\n\xc3\xa4\x80\n", 2, "0x80", 3),  # columns are bytes
        (b"eins\nzwei\n\xc3\n\xff\n", 3, "0xc3", 1),
    ],
)
def test_broken_utf8(content: bytes, line: int, byte: str, column: int, tmp_path: Path) -> None:
    path = tmp_path / "x.de"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=names("--validpref", path, line, "UTF-8", byte, column)):
        count_lines(path, "--validpref")


@pytest.mark.parametrize(
    ("content", "line", "column"),
    [
        (b"eins\rzwei\n", 1, 5),
        (b"eins\r\nzwei\r\r\n", 2, 5),
        (b"eins\n\xc3\xa4\rzwei\rdrei\r\nvier\n", 2, 3),  # columns are bytes
        (b"eins\nzwei\r", 2, 5),
        (b"\n" * 9 + b"\rzehn\n", 10, 1),
    ],
)
def test_carriage_return_inside_a_line(content: bytes, line: int, column: int, tmp_path: Path) -> None:
    """fairseq ends a line there: what Python's text mode reads has more lines than newlines."""
    path = tmp_path / "x.de"
    path.write_bytes(content)
    assert "\r" not in path.read_text() != content.decode().replace("\r\n", "\n")
    with pytest.raises(ValueError, match=names("--trainpref", path, line, "carriage return", column)):
        count_lines(path, "--trainpref")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=names("--testpref", f"{tmp_path}/x.de")):
        count_lines(tmp_path / "x.de", "--testpref")
    with pytest.raises(ValueError, match=names("--testpref", tmp_path)):
        count_lines(tmp_path, "--testpref")


def test_check_lines() -> None:
    check_lines(["gut", "", "Größe \U0001f600"], "--input")
    broken = b"a" * 30 + b"\xffe" + b"b" * 30
    line = broken.decode("utf-8", errors="surrogateescape")
    shown = "a" * 20 + "\\udcffe" + "b" * 19
    with pytest.raises(ValueError, match=names("--input", "2", "UTF-8", shown)):
        check_lines(["gut", line, "\udcff"], "--input")


def write_text(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")


def test_check_parallel(tmp_path: Path) -> None:
    write_text(tmp_path, x_en="one\n" * 1200, x_de="eins\n" * 1200, x_fr="un\ndeux\n")
    check_parallel(f"{tmp_path}/x", ["en", "de"], "--trainpref")
    check_parallel(f"{tmp_path}/x", ["fr"], "--trainpref")
    with pytest.raises(ValueError, match=names("--trainpref", f"{tmp_path}/x.en", "1,200", f"{tmp_path}/x.fr", "2")):
        check_parallel(f"{tmp_path}/x", ["en", "fr"], "--trainpref")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A command line whose training text is in order; the others' sides differ in length."""
    write_text(tmp_path, good_en="one\n", good_de="eins\n", bad_en="one\ntwo\n", bad_de="eins\n")
    return ["-s", "en", "-t", "de", "--trainpref", f"{tmp_path}/good", "--task", "translation_bnb", "--srcdict", "x"]


@pytest.mark.parametrize("command", ["/usr/bin/fairseq-preprocess", "fairseq-preprocess", "fairseq_cli/preprocess.py"])
@pytest.mark.parametrize("option", ["--validpref", "--testpref"])
def test_preprocessing_command(command: str, option: str, arguments: list[str], tmp_path: Path) -> None:
    check_preprocessing_command([command, *arguments])
    check_preprocessing_command([command, *arguments, option, f"{tmp_path}/good,{tmp_path}/good"])
    for bad in (f"{tmp_path}/bad", f"{tmp_path}/good,{tmp_path}/bad"):
        with pytest.raises(ValueError, match=names(option, f"{tmp_path}/bad.en", "2", f"{tmp_path}/bad.de", "1")):
            check_preprocessing_command([command, *arguments, option, bad])
    with pytest.raises(ValueError, match=names(option, f"{tmp_path}/none.en")):
        check_preprocessing_command([command, *arguments, option, f"{tmp_path}/none"])


def test_prefix_of_training_is_one(arguments: list[str], tmp_path: Path) -> None:
    """fairseq splits the others at commas, not this one."""
    place = arguments.index("--trainpref") + 1
    arguments[place] = f"{tmp_path}/good,{tmp_path}/good"
    with pytest.raises(ValueError, match=names("--trainpref", f"{tmp_path}/good,{tmp_path}/good.en")):
        check_preprocessing_command(["fairseq-preprocess", *arguments])
    write_text(tmp_path, **{"a,b_en": "one\n", "a,b_de": "eins\n"})
    arguments[place] = f"{tmp_path}/a,b"
    check_preprocessing_command(["fairseq-preprocess", *arguments])


def test_only_source(arguments: list[str], tmp_path: Path) -> None:
    check_preprocessing_command(["fairseq-preprocess", *arguments, "--testpref", f"{tmp_path}/bad", "--only-source"])


def test_only_source_without_a_language(tmp_path: Path) -> None:
    write_text(tmp_path, good="one\n", good_en="one\n")
    begin = ["fairseq-preprocess", "--only-source", "--srcdict", "x", "--task", "sentence_prediction_bnb"]
    check_preprocessing_command([*begin, "--trainpref", f"{tmp_path}/good"])
    with pytest.raises(ValueError, match=names("--validpref", f"{tmp_path}/none")):
        check_preprocessing_command([*begin, "--validpref", f"{tmp_path}/good,{tmp_path}/none"])
    (tmp_path / "bad").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match=names("--trainpref", f"{tmp_path}/bad", "1", "UTF-8")):
        check_preprocessing_command([*begin, "--trainpref", f"{tmp_path}/bad"])


@pytest.mark.parametrize("command", ["fairseq-train", "/bin/fairseq-generate", "pytest", ""])
def test_other_commands_are_left_alone(command: str, arguments: list[str], tmp_path: Path) -> None:
    check_preprocessing_command([command, *arguments, "--testpref", f"{tmp_path}/bad"])


def test_running_command_is_the_default(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = [*arguments, "--testpref", f"{tmp_path}/bad"]
    monkeypatch.setattr(sys, "argv", ["fairseq-train", *bad])
    check_preprocessing_command()
    monkeypatch.setattr(sys, "argv", ["/opt/bin/fairseq-preprocess", *bad])
    with pytest.raises(ValueError, match=names("--testpref", f"{tmp_path}/bad.en", "2", f"{tmp_path}/bad.de", "1")):
        check_preprocessing_command()


@pytest.mark.parametrize(("option", "name"), [("--trainpref", "train"), ("--validpref", "valid")])
def test_an_empty_part_that_training_needs(option: str, name: str, tmp_path: Path) -> None:
    write_text(tmp_path, x_en="", x_de="")
    facts = (option, f"{tmp_path}/x.en", "1", "0")
    with pytest.raises(ValueError, match=names(*facts)):
        check_parallel(f"{tmp_path}/x", ["en", "de"], option)
    for more in (["--only-source"], ["-s", "en", "-t", "de"]):
        line = ["fairseq-preprocess", *more, f"--{name}pref", f"{tmp_path}/x" + (".en" if len(more) == 1 else "")]
        with pytest.raises(ValueError, match=names(*facts)):
            check_preprocessing_command(line)


def test_an_empty_test_part_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_text(tmp_path, x_en="", x_de="")
    check_parallel(f"{tmp_path}/x", ["en", "de"], "--testpref")
    assert f"--testpref: {tmp_path}/x.en is empty" in caplog.text


@pytest.mark.parametrize("name", ["raw", "fasta"])
def test_storage_formats_that_do_not_work(name: str) -> None:
    with pytest.raises(ValueError, match=names("--dataset-impl", "mmap", "cached", "lazy", name)):
        check_preprocessing_command(["fairseq-preprocess", "--dataset-impl", name])
