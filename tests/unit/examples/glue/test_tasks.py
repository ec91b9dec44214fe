"""GLUE's nine tasks: every file in GLUE's own form, and faults in them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ....facts import naming
from .conftest import FILES, MRPC_HEAD, Part, Write

Change = Callable[[Path], object]
# What must come out: task -> training texts and labels, dev texts and labels by title, test texts.
EXPECTED = {
    "CoLA": (
        [(('He said "go.',), "1"), (("Go he said .",), "0"), (("Go.",), "1")],
        {"CoLA": [(("Said he go.",), "0")]},
        {"CoLA": [("0", ("He goes.",)), ("1", ("Goes he.",))]},
    ),
    "SST-2": (
        [(("a fine film",), "1"), (("a bad film",), "0")],
        {"SST-2": [(("a film",), "1")]},
        {"SST-2": [("0", ("no film",))]},
    ),
    "MRPC": (
        [(("He went.", 'He "left.'), "1"), (("It rained.", "Sunny."), "0")],
        {"MRPC": [(("A dog.", "One dog."), "1")]},
        {"MRPC": [("0", ("Left.", "Right."))]},
    ),
    "STS-B": (
        [(("A cat.", "A dog."), "1.250"), (("One.", "1."), "5")],
        {"STS-B": [(("Up.", "Down."), "0.000")]},
        {"STS-B": [("0", ("In.", "Out."))]},
    ),
    "QQP": (
        [(("Why?", "How?"), "0"), (("Who?", "Who is it?"), "1")],
        {"QQP": [(("Why?", "Who is it?"), "0")]},
        {"QQP": [("0", ("When?", "At what time?"))]},
    ),
    "MNLI": (
        [(("It is.", "It was."), "neutral"), (("It is.", "It is not."), "contradiction")],
        {"MNLI-m": [(("matched.", "It is."), "entailment")], "MNLI-mm": [(("mismatched.", "It is."), "entailment")]},
        {"MNLI-m": [("0", ("Is matched.", "Is."))], "MNLI-mm": [("0", ("Is mismatched.", "Is."))]},
    ),
    "QNLI": (
        [(("Who?", "Me."), "not_entailment")],
        {"QNLI": [(("When?", "Now."), "entailment")]},
        {"QNLI": [("0", ("Where?", "Here."))]},
    ),
    "RTE": (
        [(("It is.", "It was."), "not_entailment"), (("Both.", "One."), "entailment")],
        {"RTE": [(("All.", "Some."), "entailment")]},
        {"RTE": [("0", ("None.", "Some."))]},
    ),
    "WNLI": (
        [(("He told him.", "He told."), "1"), (("She is.", "Is she."), "0")],
        {"WNLI": [(("They.", "He."), "0")]},
        {"WNLI": [("0", ("We.", "She."))]},
    ),
}
METRICS = {
    "CoLA": ("matthews",),
    "MRPC": ("accuracy", "f1"),
    "QQP": ("accuracy", "f1"),
    "STS-B": ("pearson", "spearman"),
}
LABELS = {
    "MNLI": ("contradiction", "entailment", "neutral"),
    "QNLI": ("entailment", "not_entailment"),
    "RTE": ("entailment", "not_entailment"),
    "STS-B": (),
}


def test_all_nine(part: Part) -> None:
    assert list(part("tasks").GLUE) == list(FILES) == list(EXPECTED)


@pytest.mark.parametrize("name", FILES)
def test_files_as_glue_has_them(name: str, part: Part, glue: Path) -> None:
    tasks = part("tasks")
    task = tasks.GLUE[name]
    data = tasks.read_task(task, glue / name, with_test=True)
    train, dev, test = EXPECTED[name]
    assert [(row.texts, row.label) for row in data.train.examples] == train
    titles = [p.title for p in task.dev]
    assert {t: [(row.texts, row.label) for row in d.examples] for t, d in zip(titles, data.dev, strict=True)} == dev
    titles = [p.title for p in task.test]
    assert {t: [(row.number, row.texts) for row in d.examples] for t, d in zip(titles, data.test, strict=True)} == test
    assert data.labels == LABELS.get(name, ("0", "1"))
    assert task.metrics == METRICS.get(name, ("accuracy",))
    assert (task.bounds == (0.0, 5.0)) == (name == "STS-B")
    assert tasks.read_task(task, glue / name, with_test=False).test == []


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in FILES.items() for file in files])
def test_missing_files(name: str, file: str, part: Part, glue: Path) -> None:
    (glue / name / file).unlink()
    with pytest.raises(ValueError, match=rf"{name}/{file}: there is no such file"):
        part("tasks").read_task(part("tasks").GLUE[name], glue / name, with_test=True)


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in FILES.items() for file in files])
def test_missing_columns(name: str, file: str, part: Part, glue: Path, write: Write) -> None:
    """Without its last column every file lacks something, since all end in a label or a text."""
    rows = FILES[name][file]
    write(glue / name / file, ["\t".join(row[:-1]) for row in rows])
    has_header = name != "CoLA" or file == "test.tsv"
    message = f"header ... {rows[0][-1]!r}" if has_header else "4 (field 4) ... 3 field(s)"
    with pytest.raises(ValueError, match=naming(f"{glue}/{name}/{file}, line 1: ... {message}")):
        part("tasks").read_task(part("tasks").GLUE[name], glue / name, with_test=True)


@pytest.mark.parametrize(
    ("name", "file"),
    [(name, file) for name, files in FILES.items() for file in files if file != "test.tsv" and "test_" not in file],
)
def test_unknown_labels(name: str, file: str, part: Part, glue: Path, write: Write) -> None:
    rows = [list(row) for row in FILES[name][file]]
    column = {"CoLA": 1, "MRPC": 0}.get(name, -1)
    rows[-1][column] = "7"
    write(glue / name / file, ["\t".join(row) for row in rows])
    heads = {"CoLA": 2, "MRPC": "Quality"}
    where = f"{glue}/{name}/{file}, line {len(rows)}, column {heads.get(name, rows[0][-1])!r}"
    wanted = "0 to 5" if name == "STS-B" else f"{', '.join(LABELS.get(name, ('0', '1')))}"
    with pytest.raises(ValueError, match=naming(f"{where}: ... {wanted} ... '7'")):
        part("tasks").read_task(part("tasks").GLUE[name], glue / name, with_test=False)


def test_rows_of_qqp_that_lack_fields(part: Part, glue: Path) -> None:
    tasks = part("tasks")
    for file in ("train.tsv", "test.tsv"):
        with (glue / "QQP" / file).open("a") as lines:
            lines.write("17\t1\n")
    with pytest.raises(ValueError, match=r"QQP/test.tsv, line 3: must have 'question2'"):
        tasks.read_task(tasks.GLUE["QQP"], glue / "QQP", with_test=True)
    data = tasks.read_task(tasks.GLUE["QQP"], glue / "QQP", with_test=False)
    assert (len(data.train.examples), data.train.damaged) == (2, [4])


@pytest.fixture
def original_mrpc(glue: Path, write: Write) -> Path:
    """What GLUE's download script leaves where it could not finish."""
    folder = glue / "MRPC"
    rows = [["1", "7", "8", "A.", "B."], ["0", "9", "10", "C.", "D."], ["1", "8", "7", "E.", "F."]]
    for file in folder.iterdir():
        file.unlink()
    (folder / "msr_paraphrase_train.txt").write_text(
        "\ufeff" + "".join("\t".join(row) + "\r\n" for row in [MRPC_HEAD, *rows]), encoding="utf-8"
    )
    write(folder / "msr_paraphrase_test.txt", ["\t".join(MRPC_HEAD), "0\t1\t2\tG.\tH."])
    write(folder / "dev_ids.tsv", ["8\t7", "1\t1"])
    return folder


def test_original_files_of_mrpc(part: Part, original_mrpc: Path) -> None:
    tasks = part("tasks")
    data = tasks.read_task(tasks.GLUE["MRPC"], original_mrpc, with_test=True)
    assert [(row.line, row.texts, row.label) for row in data.train.examples] == [
        (2, ("A.", "B."), "1"),
        (3, ("C.", "D."), "0"),
    ]
    assert [(row.line, row.texts, row.label) for row in data.dev[0].examples] == [(4, ("E.", "F."), "1")]
    assert [(row.number, row.texts) for row in data.test[0].examples] == [("0", ("G.", "H."))]


def test_original_files_of_mrpc_without_what_divides_them(part: Part, original_mrpc: Path, write: Write) -> None:
    tasks = part("tasks")
    write(original_mrpc / "dev_ids.tsv", ["1\t1"])
    with pytest.raises(ValueError, match=r"dev_ids.tsv: its pairs of ids leave no example .* for dev.tsv"):
        tasks.read_task(tasks.GLUE["MRPC"], original_mrpc, with_test=False)
    (original_mrpc / "dev_ids.tsv").unlink()
    with pytest.raises(ValueError, match=r"train.tsv: there is no such file; to take it from .*dev_ids.tsv must be"):
        tasks.read_task(tasks.GLUE["MRPC"], original_mrpc, with_test=False)


def test_other_data(part: Part, tmp_path: Path, write: Write) -> None:
    tasks, tsv = part("tasks"), part("tsv")
    train = write(tmp_path / "train.tsv", ["a tool\tsyn\tutils", "a game\tsyn\tgames", "a b\tsyn\tutils"])
    dev = write(tmp_path / "dev.tsv", ["a c\tsyn\tgames"])
    test = write(tmp_path / "test.tsv", ["a d\tsyn"])
    task = tasks.custom_task(train, dev, test, tsv.Columns((1, 2), 3, header=False), regression=False)
    data = tasks.read_task(task, tmp_path / "nowhere", with_test=True)
    assert data.labels == ("games", "utils")
    assert [row.texts for row in data.train.examples] == [("a tool", "syn"), ("a game", "syn"), ("a b", "syn")]
    assert [row.texts for row in data.test[0].examples] == [("a d", "syn")]
    write(dev, ["a c\tsyn\tgames", "a e\tsyn\tmail"])
    with pytest.raises(ValueError, match=r"dev.tsv, line 2, column 3: must be one of games, utils, but is 'mail'"):
        tasks.read_task(task, tmp_path, with_test=False)
    write(train, ["a\tb\tutils"])
    with pytest.raises(ValueError, match=r"train.tsv: must have at least 2 different labels, but has only utils"):
        tasks.read_task(task, tmp_path, with_test=False)


def test_other_numbers(part: Part, tmp_path: Path, write: Write) -> None:
    tasks, tsv = part("tasks"), part("tsv")
    file = write(tmp_path / "x.tsv", ["text\tprice", "a\t-7", "b\t1e3"])
    task = tasks.custom_task(file, file, None, tsv.Columns(("text",), "price"), regression=True)
    assert (task.metrics, task.test) == (("pearson", "spearman"), ())
    assert tasks.read_task(task, tmp_path, with_test=True).labels == ()
    write(file, ["text\tprice", "a\tcheap"])
    with pytest.raises(ValueError, match=r"line 2, column 'price': must be a finite number, but is 'cheap'"):
        tasks.read_task(task, tmp_path, with_test=False)
