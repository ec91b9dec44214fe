r"""Train and evaluate a classifier on GLUE's tasks, or on other text in TSV files, and print the table of results.

    python examples/glue/run_glue.py GLUE_DIR --task all --output glue --bert-encoder bert-base-uncased
    python examples/glue/run_glue.py --task custom --train train.tsv --dev dev.tsv --no-header --text-columns 1 \
        --label-column 3 --output sections --bert-encoder bert-base-uncased

GLUE_DIR holds a folder for each task (CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, WNLI) with GLUE's own files.

For each task OUTPUT/TASK holds data-bin folder, checkpoints, train.log, run.json (options and data) and result.json. A
task with a result is not trained again, an interrupted training goes on; other options or data need another OUTPUT.
OUTPUT/glue.md holds what is printed. --predict-test writes OUTPUT/submission/TASK.tsv for GLUE's server.

Defaults are the usual ones for fine-tuning a BERT (Devlin et al. 2019, appendix A.3): 3 epochs, batches of 32, a
learning rate of 3e-5 (the paper tries 2e-5 to 5e-5), which rises for a tenth of the updates and then falls to 0. What
follows -- goes to fairseq-train: -- --fp16 --freeze encoder-embeddings
"""

import argparse
import logging
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from glue.report import explain, format_table
from glue.runs import TaskRun, describe_options
from glue.tasks import GLUE, TextTask, custom_task
from glue.tsv import Column, Columns

from bnb_fairseq.cli.errors import one_line_errors
from bnb_fairseq.evaluation.machine import describe_machine

ALL, CUSTOM = "all", "custom"
VERSIONS = ("torch", "fairseq", "sklearn", "scipy")


def find_faults(arguments: argparse.Namespace) -> list[str]:
    """All faults of the command line."""
    faults = []
    custom = {"--train": arguments.train, "--dev": arguments.dev, "--text-columns": arguments.text_columns}
    custom |= {"--label-column": arguments.label_column}
    given = [option for option, value in custom.items() if value]
    if CUSTOM in arguments.task:
        faults += [f"--task custom needs {option}" for option in custom if option not in given]
    elif given or arguments.test or arguments.no_header or arguments.regression:
        faults.append(f"{given[0] if given else '--test, --no-header and --regression'} needs --task custom")
    if set(arguments.task) != {CUSTOM} and (arguments.glue_dir is None or not arguments.glue_dir.is_dir()):
        faults.append(f"GLUE_DIR must be a folder, but is {arguments.glue_dir}")
    if len(arguments.text_columns or []) > 2:
        faults.append(f"--text-columns must name one or two columns, but names {len(arguments.text_columns)}")
    numbered = [*(arguments.text_columns or []), *filter(None, [arguments.label_column])]
    if arguments.no_header and not all(column.isdecimal() and int(column) >= 1 for column in numbered):
        faults.append(f"--no-header: columns must be numbers from 1, but are {', '.join(numbered)}")
    if arguments.bert_encoder and arguments.pretrained_checkpoint:
        faults.append("--pretrained-checkpoint replaces --bert-encoder; set only one of them")
    if arguments.dictionary is None and arguments.bert_encoder is None:
        faults.append("--dictionary must name the BERT or dict.txt that splits the texts if --bert-encoder is not set")
    bounds = {"max_epoch": 1, "batch_size": 1, "workers": 1, "max_positions": 5}
    for name, least in bounds.items():
        if getattr(arguments, name) < least:
            faults.append(f"--{name.replace('_', '-')} must be at least {least}, but is {getattr(arguments, name)}")
    if not 0 <= arguments.warmup_share < 1:
        faults.append(f"--warmup-share must lie in [0, 1), but is {arguments.warmup_share}")
    if arguments.lr <= 0:
        faults.append(f"--lr must be positive, but is {arguments.lr}")
    return faults


def parse_arguments(line: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line."""
    line = sys.argv[1:] if line is None else line
    end = line.index("--") if "--" in line else len(line)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("glue_dir", nargs="?", type=Path, metavar="GLUE_DIR", help="folder with a folder for each task")
    parser.add_argument(
        "--task", action="append", required=True, choices=[*GLUE, ALL, CUSTOM], help="may be given several times"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for all results")
    _add_model_options(parser)
    _add_training_options(parser)
    custom = parser.add_argument_group("--task custom")
    custom.add_argument("--train", type=Path, metavar="TSV", help="file to train on")
    custom.add_argument("--dev", type=Path, metavar="TSV", help="file to evaluate on")
    custom.add_argument("--test", type=Path, metavar="TSV", help="--predict-test: file to predict")
    custom.add_argument(
        "--text-columns", nargs="+", metavar="COLUMN", help="one or two columns: names, or numbers from 1"
    )
    custom.add_argument("--label-column", metavar="COLUMN", help="column of the label: its name, or number from 1")
    custom.add_argument("--no-header", action="store_true", help="the first line is an example; columns are numbers")
    custom.add_argument("--regression", action="store_true", help="labels are numbers, not classes")
    arguments = parser.parse_args(line[:end])
    arguments.more = line[end + 1 :]
    if faults := find_faults(arguments):
        parser.error("; ".join(faults))
    return arguments


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    model.add_argument("--bert-encoder", metavar="BERT", help="BERT to start from: HuggingFace name or directory")
    model.add_argument(
        "--pretrained-checkpoint",
        metavar="FILE",
        help="checkpoint of bnb_transformer, bert2bert or bnb_classifier to start from",
    )
    model.add_argument(
        "--dictionary",
        metavar="BERT",
        help="tokenizer of the texts: a BERT, a SentencePiece .model or the dict.txt of a data-bin folder (default: "
        "that of --bert-encoder)",
    )
    model.add_argument(
        "--classify-with",
        choices=["encoder", "decoder"],
        default="encoder",
        help="the encoder's state of [CLS], or the mean of a bnb_transformer's decoder states (default: encoder)",
    )
    model.add_argument(
        "--arch", default="bnb_classifier", help="or bnb_classifier_small, _tiny (default: bnb_classifier)"
    )
    model.add_argument(
        "--max-positions", type=int, default=128, help="longest item in tokens; longer ones are cut (default: 128)"
    )


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training")
    training.add_argument("--max-epoch", type=int, default=3, help="epochs (default: 3)")
    training.add_argument("--lr", type=float, default=3e-5, help="highest learning rate (default: 3e-5)")
    training.add_argument("--batch-size", type=int, default=32, help="examples a GPU and update (default: 32)")
    training.add_argument(
        "--warmup-share", type=float, default=0.1, help="share of the updates in which the rate rises (default: 0.1)"
    )
    training.add_argument("--weight-decay", type=float, default=0.01, help="weight decay (default: 0.01)")
    training.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
    training.add_argument("--cpu", action="store_true", help="do not use a GPU")
    training.add_argument("--workers", type=int, default=1, help="processes that split texts (default: 1)")
    training.add_argument("--predict-test", action="store_true", help="write predictions for the test parts")


def choose_tasks(arguments: argparse.Namespace) -> list[TextTask]:
    """Tasks that the command line names, each once."""
    names = [name for choice in arguments.task for name in (GLUE if choice == ALL else [choice])]
    return [_custom(arguments) if name == CUSTOM else GLUE[name] for name in dict.fromkeys(names)]


def _custom(arguments: argparse.Namespace) -> TextTask:
    def column(text: str) -> Column:
        return int(text) if arguments.no_header else text

    texts = tuple(column(text) for text in arguments.text_columns)
    columns = Columns(texts, column(arguments.label_column), header=not arguments.no_header)
    return custom_task(arguments.train, arguments.dev, arguments.test, columns, arguments.regression)


def main() -> None:
    """Run the tasks in turn, and print the table."""
    arguments = parse_arguments()
    logging.disable(logging.INFO)  # fairseq's, of this process; fairseq-train has train.log
    results: dict[str, dict[str, Any]] = {}
    with one_line_errors("run_glue", ValueError, OSError, RuntimeError):
        tasks = choose_tasks(arguments)
        runs = [TaskRun.open(task, arguments) for task in tasks]
        for i, run in enumerate(runs, start=1):
            print(f"[{i}/{len(runs)}] {run.task.name}", file=sys.stderr, flush=True)
            results[run.task.name] = run.finish(arguments)
    made = describe_machine("cpu" if arguments.cpu or not torch.cuda.is_available() else "cuda", VERSIONS)
    notes = [
        explain(results),
        describe_options(arguments),
        ", ".join(f"{key} {value}" for key, value in made.items()),
        f"```bash\n{shlex.join(['python', *sys.argv])}\n```",
    ]
    report = "\n\n".join([format_table(results), *notes])
    (arguments.output / "glue.md").write_text(f"{report}\n", encoding="utf-8")
    print(report, flush=True)


if __name__ == "__main__":
    main()
