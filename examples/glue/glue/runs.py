"""One task from files to result; finished steps are not repeated."""

import argparse
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnb_fairseq.data.dictionary import load_dictionary

from .databin import TEST, VALID, split_names, write_data_bin
from .evaluation import Classifier, measure, write_submission
from .metrics import majority_accuracy
from .tasks import TaskData, TextTask, read_task
from .training import make_command, train

# Options that determine a result, beside the data.
OPTIONS = (
    *("arch", "bert_encoder", "pretrained_checkpoint", "dictionary", "classify_with", "max_positions"),
    *("max_epoch", "lr", "batch_size", "warmup_share", "weight_decay", "seed", "more"),
)


@dataclass(frozen=True)
class TaskRun:
    """A task with valid files.

    Attributes:
        task: the task.
        source: folder of its files.
        folder: folder of its results.
        record: options and data that identify a result.
    """

    task: TextTask
    source: Path
    folder: Path
    record: dict[str, Any]

    @classmethod
    def open(cls, task: TextTask, arguments: argparse.Namespace) -> "TaskRun":
        """Read a task's files, and compare them and the options with the record of an earlier run.

        Raises ValueError if a file has faults, or the folder holds a run with other options or data.
        """
        source = (arguments.glue_dir or Path()) / task.name
        data = read_task(task, source, arguments.predict_test)
        folder = arguments.output / task.name
        record = {name: getattr(arguments, name) for name in OPTIONS}
        if arguments.pretrained_checkpoint is not None:
            state = Path(arguments.pretrained_checkpoint).stat()
            record["checkpoint"] = [state.st_size, state.st_mtime_ns]
        record["data"] = [table.sha256() for table in (data.train, *data.dev)]
        record = json.loads(json.dumps(record))
        noted = folder / "run.json"
        if noted.is_file():
            before = json.loads(noted.read_text(encoding="utf-8"))
            changed = [name for name in record | before if record.get(name) != before.get(name)]
            if changed:
                found = ", ".join(f"{name}: {before.get(name)} then, {record.get(name)} now" for name in changed)
                raise ValueError(f"{folder} was made with other options or data ({found}); choose another --output")
        return cls(task, source, folder, record)

    def finish(self, arguments: argparse.Namespace) -> dict[str, Any]:
        """Do the remaining steps and return the result, the content of result.json.

        Raises RuntimeError if the training fails.
        """
        kept = self.folder / "result.json"
        submissions = [arguments.output / "submission" / f"{part.title}.tsv" for part in self.task.test]
        predicts = arguments.predict_test and not all(path.is_file() for path in submissions)
        if kept.is_file():
            say("trained before: using its result")
            if not predicts:
                return dict(json.loads(kept.read_text(encoding="utf-8")))
        data = read_task(self.task, self.source, arguments.predict_test)
        _describe(self.task, data)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "run.json").write_text(json.dumps(self.record, indent=2), encoding="utf-8")
        data_bin, save_dir = self.folder / "data-bin", self.folder / "checkpoints"
        dictionary = load_dictionary(arguments.dictionary or arguments.bert_encoder)
        say(write_data_bin(data_bin, self.task, data, dictionary, arguments.workers))
        if kept.is_file():
            checkpoint = save_dir / json.loads(kept.read_text(encoding="utf-8"))["checkpoint"]
        else:
            command = make_command(self.task, data_bin, save_dir, len(data.train.examples), arguments)
            say(f"training: {shlex.join(command)}")
            checkpoint = train(command, self.folder / "train.log", save_dir)
        classifier = Classifier(checkpoint, data_bin, arguments.cpu)
        result: dict[str, Any] = {
            "train": len(data.train.examples),
            "parts": evaluate(self.task, data, classifier, arguments),
        }
        if predicts:
            for path, split, table in zip(submissions, split_names(TEST, len(submissions)), data.test, strict=True):
                predicted = classifier.predict(split, arguments.batch_size)
                write_submission(path, predicted, [row.number for row in table.examples], self.task.bounds)
                say(f"predictions: {path}")
        result["checkpoint"] = checkpoint.name
        kept.write_text(json.dumps(result, indent=2), encoding="utf-8")
        return result


def evaluate(
    task: TextTask, data: TaskData, classifier: Classifier, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure a classifier on the development parts: ``title``, ``examples``, ``metrics`` and ``majority`` of each."""
    parts = []
    for part, split, table in zip(task.dev, split_names(VALID, len(data.dev)), data.dev, strict=True):
        predicted, gold = classifier.predict(split, arguments.batch_size), table.labels()
        metrics = measure(task.metrics, predicted, gold, regression=task.bounds is not None)
        majority = majority_accuracy(data.train.labels(), gold) if task.bounds is None else None
        parts.append({"title": part.title, "examples": len(gold), "metrics": metrics, "majority": majority})
        say(f"{part.title}: {', '.join(f'{name} {value:.1f}' for name, value in metrics.items())}")
    return parts


def _describe(task: TextTask, data: TaskData) -> None:
    parts = {"train": data.train}
    parts |= {part.title: table for part, table in zip(task.dev, data.dev, strict=True)}
    counts = ", ".join(f"{name} {len(table.examples):,}" for name, table in parts.items())
    say(f"examples: {counts}; {f'{len(data.labels)} labels' if data.labels else 'numbers'}")
    for table in (data.train, *data.dev):
        if table.damaged:
            where = ", ".join(map(str, table.damaged[:5])) + (", ..." if len(table.damaged) > 5 else "")
            say(f"{table.path}: {len(table.damaged):,} rows lack fields and are skipped (lines {where})")


def describe_options(arguments: argparse.Namespace) -> str:
    """The training's options in a sentence."""
    start = arguments.bert_encoder or arguments.pretrained_checkpoint or "random parameters"
    epochs = "1 epoch" if arguments.max_epoch == 1 else f"{arguments.max_epoch} epochs"
    return (
        f"{start}, classified with the {arguments.classify_with}: {epochs}, batches of "
        f"{arguments.batch_size}, learning rate {arguments.lr:g}, at most {arguments.max_positions} tokens, "
        f"seed {arguments.seed}"
    )


def say(text: str) -> None:
    """Print progress to stderr; stdout holds the table only."""
    print("  ", text, file=sys.stderr, flush=True)
