"""GLUE's nine tasks (Wang et al. 2019) as rows of a table; other data are a row of the same kind."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from .tsv import Columns, Table, check_classes, check_numbers, read_table

ENTAILMENT = ("entailment", "not_entailment")
BINARY = ("0", "1")
PAIR = ("sentence1", "sentence2")
MRPC_PAIR = ("#1 String", "#2 String")
MRPC_IDS = Columns(("#1 ID", "#2 ID"))
MRPC_TRAIN, MRPC_TEST, MRPC_DEV_IDS = "msr_paraphrase_train.txt", "msr_paraphrase_test.txt", "dev_ids.tsv"

Reader = Callable[[Path, Columns], Table]


class Part(NamedTuple):
    """A file of a task.

    Attributes:
        title: in tables, and of the predictions' file without ``.tsv``.
        file: its path within the task's folder.
        columns: its columns.
        read: reads it.
    """

    title: str
    file: str
    columns: Columns
    read: Reader = read_table


@dataclass(frozen=True)
class TextTask:
    """A classification or regression task.

    Attributes:
        name: its name, and that of its folder.
        train: the training part.
        dev: parts with labels to evaluate on; the first one chooses the checkpoint.
        test: parts without labels to predict.
        metrics: keys of ``metrics.METRICS``.
        labels: the classes, class 0 first; None: those of the training part, in alphabetical order.
        bounds: of a regression's numbers; None: classification.
    """

    name: str
    train: Part
    dev: tuple[Part, ...]
    test: tuple[Part, ...]
    metrics: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    bounds: tuple[float, float] | None = None


class TaskData(NamedTuple):
    """The parts of a task, and its labels (none in regression)."""

    train: Table
    dev: list[Table]
    test: list[Table]
    labels: tuple[str, ...]


def read_task(task: TextTask, folder: Path, with_test: bool) -> TaskData:
    """Read and check a task's files, with the test parts if ``with_test``.

    Raises ValueError, naming file, line and column of a fault.
    """
    train = _read(task.train, folder)
    dev = [_read(part, folder) for part in task.dev]
    test = [_read(part, folder) for part in task.test] if with_test else []
    if task.bounds is not None:
        for table in (train, *dev):
            check_numbers(table, *task.bounds)
        return TaskData(train, dev, test, ())
    labels = task.labels or tuple(sorted(set(train.labels())))
    if len(labels) < 2:
        raise ValueError(f"{train.path}: must have at least 2 different labels, but has only {', '.join(labels)}")
    for table in (train, *dev):
        check_classes(table, labels)
    return TaskData(train, dev, test, labels)


def custom_task(train: Path, dev: Path, test: Path | None, columns: Columns, regression: bool) -> TextTask:
    """A task on other data than GLUE's, in TSV files; its classes are the labels of the training file.

    The column of the label need not exist in ``test``, the file to predict.
    """
    parts = () if test is None else (Part("custom", str(test.absolute()), columns._replace(label=None)),)
    return TextTask(
        "custom",
        Part("custom", str(train.absolute()), columns),
        (Part("custom", str(dev.absolute()), columns),),
        parts,
        ("pearson", "spearman") if regression else ("accuracy",),
        bounds=(-math.inf, math.inf) if regression else None,
    )


def _read(part: Part, folder: Path) -> Table:
    return part.read(folder / part.file, part.columns)


def _read_qqp(path: Path, columns: Columns) -> Table:
    """Read a part of QQP: a few rows of GLUE's own files lack fields; those to predict must be complete."""
    return read_table(path, columns, skip_damaged=columns.label is not None)


def _read_mrpc(path: Path, columns: Columns) -> Table:
    """Read a part of MRPC, or take it from the original files if GLUE's download script left only these.

    The original has no development part: GLUE takes the training pairs whose ids its ``dev_ids.tsv`` lists.
    """
    original = path.with_name(MRPC_TEST if columns.label is None else MRPC_TRAIN)
    if path.is_file() or not original.is_file():
        return read_table(path, columns)
    if columns.label is None:
        return read_table(original, columns._replace(number=None))
    ids = path.with_name(MRPC_DEV_IDS)
    if not ids.is_file():
        raise ValueError(f"{path}: there is no such file; to take it from {original.name}, {ids} must be there")
    listed = {example.texts for example in read_table(ids, Columns((1, 2), header=False)).examples}
    table, own_ids = read_table(original, columns), read_table(original, MRPC_IDS).examples
    wanted = path.name == "dev.tsv"
    chosen = [row for row, row_id in zip(table.examples, own_ids, strict=True) if (row_id.texts in listed) == wanted]
    if not chosen:
        raise ValueError(f"{ids}: its pairs of ids leave no example of {original.name} for {path.name}")
    return table._replace(examples=chosen)


def _glue(
    name: str,
    texts: tuple[str, ...],
    label: str,
    metrics: tuple[str, ...] = ("accuracy",),
    labels: tuple[str, ...] | None = BINARY,
    number: str = "index",
    read: Reader = read_table,
) -> TextTask:
    """A task whose files have a header and whose parts are train, dev and test."""
    columns = Columns(texts, label)
    return TextTask(
        name,
        Part(name, "train.tsv", columns, read),
        (Part(name, "dev.tsv", columns, read),),
        (Part(name, "test.tsv", Columns(texts, None, number), read),),
        metrics,
        labels,
    )


def _cola() -> TextTask:
    """CoLA: train and dev have no header, but source, label, the author's judgement and the sentence."""
    task = _glue("CoLA", ("sentence",), "label", ("matthews",))
    columns = Columns((4,), 2, header=False)
    dev = tuple(part._replace(columns=columns) for part in task.dev)
    return replace(task, train=task.train._replace(columns=columns), dev=dev)


def _mnli() -> TextTask:
    """MNLI: two development and test parts, of the training data's genres (matched) and of others."""
    task = _glue("MNLI", PAIR, "gold_label", labels=("contradiction", "entailment", "neutral"))
    halves = {"MNLI-m": "matched", "MNLI-mm": "mismatched"}

    def split(part: Part, prefix: str) -> tuple[Part, ...]:
        return tuple(part._replace(title=title, file=f"{prefix}_{half}.tsv") for title, half in halves.items())

    return replace(task, dev=split(task.dev[0], "dev"), test=split(task.test[0], "test"))


GLUE = {
    task.name: task
    for task in (
        _cola(),
        _glue("SST-2", ("sentence",), "label"),
        _glue("MRPC", MRPC_PAIR, "Quality", ("accuracy", "f1"), read=_read_mrpc),
        replace(_glue("STS-B", PAIR, "score", ("pearson", "spearman"), labels=None), bounds=(0.0, 5.0)),
        _glue("QQP", ("question1", "question2"), "is_duplicate", ("accuracy", "f1"), number="id", read=_read_qqp),
        _mnli(),
        _glue("QNLI", ("question", "sentence"), "label", labels=ENTAILMENT),
        _glue("RTE", PAIR, "label", labels=ENTAILMENT),
        _glue("WNLI", PAIR, "label"),
    )
}
