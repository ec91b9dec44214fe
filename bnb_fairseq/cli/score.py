r"""Score translations of a test set: quality, speed, whether a difference may be chance, and where systems differ.

    bnb-score texts "NAME=OUTPUT" ...         what fairseq-generate wrote: samples, and the table of scores
    bnb-score checkpoints DATA_BIN "NAME=CHECKPOINT [OPTIONS]" ...
                                              translate first, each system once a round, then the same table
    bnb-score analysis "NAME=OUTPUT" ...      where systems lose: by length, n-gram, frequency of words, kind of fault

All need --source and --reference, the raw texts. `bnb-score COMMAND --help` lists options and columns.
"""

import argparse
import json
import logging
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..evaluation import runs as generation
from ..evaluation.analysis import bleu_signature, count_words, length_buckets, read_tokens
from ..evaluation.analysis_tables import by_length, faults, parts_of_bleu, recall
from ..evaluation.comparison import DEFAULT, METRICS, TESTED, Figures, Terms, evaluate, explain_speed, format_table
from ..evaluation.machine import describe_machine
from ..evaluation.means import open_meteor, open_rouge
from ..evaluation.outputs import find_speed, read_lines, read_translations
from ..evaluation.systems import RECORD, System, find_outputs, parse_system, positive
from .errors import one_line_errors

NAME = "bnb-score"
PACKAGE = Path(__file__).resolve().parents[1]
VERSIONS = ("torch", "fairseq", "sacrebleu")
FORMATS = (".png", ".pdf", ".svg")
REPETITION = "repetition: share of tokens (13a) that equal their left neighbour in the same sentence"

COLUMNS = """
BLEU, chrF    sacrebleu's, of the detokenised output against the raw reference
mean ± 95%    of BLEU, over the samples of sacrebleu's paired bootstrap
p             of the difference in BLEU to the baseline, from the same test
length ratio  tokens (sacrebleu's 13a, as in BLEU) of the output over those of the reference
repetition %  share of tokens (13a) that equal their left neighbour in the same sentence
sentences/s   as fairseq-generate prints it: generation only
ratio         of sentences/s to the baseline's

--metrics chooses the columns in the middle: bleu, chrf (both by default), rouge and meteor:

ROUGE-1/2/L   F1 of rouge-score, percent, the mean over the sentences; with a mean ± 95% and p of ROUGE-L of its own
METEOR        NLTK's, percent, the mean over the sentences, likewise; left out where WordNet is not installed

--picture draws BLEU over sentences/s, or ROUGE-L or METEOR where --metrics has no bleu.
"""
TEXTS = f"""Score what fairseq-generate wrote, and show samples. Copying the source is scored, too.

A SYSTEM is NAME=OUTPUT, or the folder of `bnb-score checkpoints`, which holds several.
{COLUMNS}"""
CHECKPOINTS = rf"""Compare checkpoints on one test set.

A SYSTEM is NAME=CHECKPOINT, with options of fairseq-generate behind it where it needs some:

    bnb-score checkpoints data-bin --source text/test.en --reference text/test.de --output quality \
        "ctc=run-ctc/checkpoint_best.pt" "bert2bert, beam 5=run-b2b/checkpoint_best.pt --beam 5 --max-len-b 100"

fairseq-generate runs for one system after the other. Its output stays in the output folder, and is used again while
its command, the checkpoint and the data are the same. quality.md there holds what is printed, quality.json its figures.

With --speed-rounds N every system runs N times in turns, round after round. The first output is scored; sentences/s is
the median of the rounds ± half the distance between the slowest and the fastest, in percent. Rounds that were measured
before are used again, too.
{COLUMNS}"""
ANALYSIS = r"""Show where one system loses against another.

A SYSTEM is NAME=OUTPUT of fairseq-generate, or the folder of `bnb-score checkpoints`, which holds several:

    bnb-score analysis quality "old=output.txt" --source text/test.en --reference text/test.de \
        --train-text text/train.de

Printed are tables in Markdown with a column for each system. Tokens and words are those of sacrebleu's 13a, upper and
lower case told apart.

by length       BLEU and length ratio of sentences of similar length, in buckets of about equal numbers of sentences
parts of BLEU   precisions of 1- to 4-grams (sacrebleu's, smoothed where nothing matches) and the brevity penalty; and
                by which factor each of them moves BLEU away from the baseline's: their product is the ratio of BLEUs
recall          of the references' words, by how often they stand in the training text; a word that stands in a
                reference n times and in its translation m times is found min(n, m) times
shares          tokens that equal their left neighbour in the same sentence; sentences that are empty, have exactly the
                reference's tokens, or less than 80% or more than 125% as many
"""


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The arguments; ``function`` is what runs the command with them.
    """
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__, formatter_class=style)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    texts, outputs, table = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    add = texts.add_argument
    add("--source", type=Path, required=True, metavar="FILE", help="raw source text")
    add("--reference", type=Path, required=True, metavar="FILE", help="raw reference text")
    add("--baseline", metavar="NAME", help="system to compare the others with (default: the first)")
    outputs.add_argument("systems", nargs="+", type=find_outputs, metavar="SYSTEM", help="NAME=OUTPUT or a folder")
    add = table.add_argument
    add(
        "--metrics", nargs="+", choices=METRICS, default=DEFAULT, metavar="METRIC", help=f"some of {', '.join(METRICS)}"
    )
    add("--bootstrap", type=positive, default=1000, metavar="N", help="samples of the test set (default: 1000)")
    add("--bootstrap-seed", type=positive, default=12345, metavar="N", help="(default: 12345, sacrebleu's)")
    add("--picture", type=Path, metavar="FILE", help=f"picture to write ({', '.join(FORMATS)})")

    of_texts = commands.add_parser("texts", description=TEXTS, formatter_class=style, parents=[outputs, texts, table])
    of_texts.set_defaults(function=score_texts)
    add = of_texts.add_argument
    add("--samples", type=int, default=10, metavar="N", help="translations of the first system to show (default: 10)")

    of_checkpoints = commands.add_parser(
        "checkpoints", description=CHECKPOINTS, formatter_class=style, parents=[texts, table]
    )
    of_checkpoints.set_defaults(function=score_checkpoints)
    add = of_checkpoints.add_argument
    add("data_bin", type=Path, metavar="DATA_BIN", help="folder made by fairseq-preprocess")
    add("systems", nargs="+", type=parse_system, metavar="SYSTEM", help='"NAME=CHECKPOINT [OPTIONS]"')
    add("--output", type=Path, required=True, metavar="FOLDER", help="folder for outputs, table and JSON")
    add("--gen-subset", default="test", metavar="PART", help="part of the data to translate (default: test)")
    add("--batch-size", type=positive, default=64, metavar="N", help="sentences in a batch (default: 64)")
    add("--speed-rounds", type=positive, default=1, metavar="N", help="runs of each (default: 1)")
    add("--cpu", action="store_true", help="use the CPU even where there is a GPU")
    plugin = Path(os.path.relpath(PACKAGE))
    add("--user-dir", type=Path, default=plugin, metavar="FOLDER", help=f"fairseq plugin (default: {plugin})")

    of_analysis = commands.add_parser("analysis", description=ANALYSIS, formatter_class=style, parents=[outputs, texts])
    of_analysis.set_defaults(function=analyse)
    add = of_analysis.add_argument
    add("--train-text", type=Path, required=True, metavar="FILE", help="raw target side of the training data")
    add(
        "--length-of",
        choices=("source", "reference"),
        default="source",
        help="side whose length puts a sentence into its bucket (default: source)",
    )
    add("--buckets", type=positive, default=5, metavar="N", help="buckets of length (default: 5)")
    return parser.parse_args(argv)


def find_faults(arguments: argparse.Namespace, names: Sequence[str], files: Mapping[str, Path]) -> list[str]:
    """Check what all commands have: texts, other files to read, and the baseline."""
    files = {"--source": arguments.source, "--reference": arguments.reference, **files}
    wrong = [f"{option} must be a file, but is {path}" for option, path in files.items() if not path.is_file()]
    if arguments.baseline not in (None, *names):
        wrong.append(f"--baseline must be one of {list(names)}, but is {arguments.baseline!r}")
    return wrong


def find_checkpoint_faults(arguments: argparse.Namespace) -> list[str]:
    """Check what ``checkpoints`` translates with."""
    systems: list[System] = arguments.systems
    folders = {"DATA_BIN": arguments.data_bin, "--user-dir": arguments.user_dir}
    wrong = [f"{option} must be a folder, but is {path}" for option, path in folders.items() if not path.is_dir()]
    if arguments.output.exists() and not arguments.output.is_dir():
        wrong.append(f"--output must be a folder, but is {arguments.output}")
    if missing := [str(file) for system in systems for file in system.checkpoints if not file.is_file()]:
        wrong.append(f"SYSTEM: every checkpoint must be a file, but these are missing: {', '.join(missing)}")
    files = [system.file.casefold() for system in systems]
    for file in sorted({file for file in files if files.count(file) > 1}):
        sharing = [system.name for system, other in zip(systems, files, strict=True) if other == file]
        wrong.append(f"SYSTEM: every NAME needs an output file of its own, but {sharing} would share {file}")
    if not generation.GENERATE.is_file():
        program = generation.GENERATE
        wrong.append(f"fairseq must be installed for the Python that runs this, but there is no {program}")
    return wrong


def find_table_faults(arguments: argparse.Namespace, output: Path | None = None) -> list[str]:
    """Check what metrics and picture need; the output folder, which need not exist yet, may hold the picture."""
    wrong, picture = find_metric_faults(arguments.metrics, arguments.picture), arguments.picture
    if "rouge" in arguments.metrics and find_spec("rouge_score") is None:
        wrong.append("--metrics rouge needs rouge-score, but it is not installed; pip install rouge-score")
    if "meteor" in arguments.metrics and find_spec("nltk") is None:
        wrong.append("--metrics meteor needs NLTK, but it is not installed; pip install nltk")
    if picture is None:
        return wrong
    if picture.suffix.lower() not in FORMATS:
        wrong.append(f"--picture must end in {', '.join(FORMATS)}, but is {picture}")
    if picture.is_dir():
        wrong.append(f"--picture must be a file, but {picture} is a folder")
    elif not picture.parent.is_dir() and (output is None or picture.parent.resolve() != output.resolve()):
        wrong.append(f"--picture must lie in a folder that exists, but {picture.parent} is none")
    if find_spec("matplotlib") is None:
        wrong.append("--picture needs matplotlib, but it is not installed; pip install matplotlib")
    return wrong


def find_metric_faults(metrics: Sequence[str], picture: Path | None) -> list[str]:
    """Check that there is something to score, and something to draw."""
    if not metrics:
        return ["--metrics needs another metric beside meteor, which is left out"]
    if picture is not None and not TESTED.keys() & set(metrics):
        return [f"--picture needs {' or '.join(TESTED)} among --metrics, but they are {' '.join(metrics)}"]
    return []


def refuse(wrong: Sequence[str]) -> None:
    """End with all that is wrong, if anything is.

    Args:
        wrong: faults.

    Raises:
        ValueError: naming them all.
    """
    if wrong:
        raise ValueError("; ".join(wrong))


def check_outputs(arguments: argparse.Namespace, files: Mapping[str, Path], others: Sequence[str]) -> dict[str, Path]:
    """Check SYSTEMs that were translated before, and the rest.

    Args:
        arguments: the command line.
        files: further files to read, by option.
        others: what else is wrong.

    Returns:
        Output files by the system's name.

    Raises:
        ValueError: with everything that is wrong.
    """
    outputs = [output for found in arguments.systems for output in found]
    names = [name for name, _ in outputs]
    twice = sorted({name for name in names if names.count(name) > 1})
    wrong = [
        f"SYSTEM: every NAME must be given once, but {name!r} is given {names.count(name)} times" for name in twice
    ]
    files = {**files, **{f"SYSTEM: OUTPUT of {name}": path for name, path in outputs}}
    refuse([*wrong, *find_faults(arguments, names, files), *others])
    return dict(outputs)


def read_text(option: str, path: Path) -> list[str]:
    """Read the lines of a text; ``option`` is named if they are no UTF-8."""
    try:
        return read_lines(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{option} must be text in UTF-8, but {path} is not: {error}") from error


def read_texts(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Read sources and references; they must have the same number of lines."""
    sources, references = read_text("--source", arguments.source), read_text("--reference", arguments.reference)
    if len(sources) != len(references):
        found = f"--source {arguments.source} has {len(sources):,}"
        found += f", --reference {arguments.reference} has {len(references):,}"
        raise ValueError(f"--source and --reference must have the same number of lines, but {found}")
    return sources, references


def read_outputs(outputs: Mapping[str, Path], reference: Path, sentences: int) -> dict[str, list[str]]:
    """Read the systems' translations, one of each line of the reference."""
    systems = {}
    for name, path in outputs.items():
        try:
            systems[name] = read_translations(path, sentences)
        except ValueError as error:
            needed = f"a translation of every line of --reference {reference} ({sentences:,})"
            raise ValueError(f"SYSTEM: {name} must have {needed}, but {error}") from error
    return systems


def make_terms(arguments: argparse.Namespace, names: Sequence[str]) -> tuple[Terms, list[str]]:
    """Load the metrics.

    Args:
        arguments: the command line.
        names: the systems'.

    Returns:
        What is measured, and why METEOR is left out, if it is.

    Raises:
        ValueError: if nothing is left.
    """
    metrics, judges, notes = list(arguments.metrics), {}, []
    if "meteor" in metrics:
        judges["meteor"], left_out = open_meteor()
        if left_out:
            print(f"warning: {left_out}", file=sys.stderr, flush=True)
            notes.append(left_out)
            metrics = [metric for metric in metrics if metric != "meteor"]
            refuse(find_metric_faults(metrics, arguments.picture))
    if "rouge" in metrics:
        judges["rouge"] = open_rouge()
    baseline = arguments.baseline or names[0]
    return Terms(metrics, judges, baseline, arguments.bootstrap, arguments.bootstrap_seed), notes


def draw_picture(rows: Sequence[Figures], terms: Terms, picture: Path | None) -> None:
    """Write the picture if there is to be one, and say on stderr which systems it lacks."""
    if picture is None:
        return
    from ..evaluation.comparison_picture import draw  # matplotlib need not be installed for the rest

    metric = next(metric for metric in TESTED if metric in terms.metrics)
    if left_out := draw(rows, terms.baseline, picture, metric):
        print(f"--picture lacks {', '.join(left_out)}: fairseq-generate printed no speed", file=sys.stderr)


def score_texts(arguments: argparse.Namespace) -> None:
    """Print samples and the table of what fairseq-generate wrote."""
    outputs = check_outputs(arguments, {}, find_table_faults(arguments))
    sources, references = read_texts(arguments)
    translations = read_outputs(outputs, arguments.reference, len(references))
    runs = {name: [generation.Run("", lines, find_speed(outputs[name]), {})] for name, lines in translations.items()}
    terms, left_out = make_terms(arguments, list(outputs))
    step = max(1, len(sources) // max(1, arguments.samples))
    first = next(iter(translations.values()))
    for i in range(0, step * arguments.samples, step)[: len(sources)]:
        print(f"source       {sources[i]}\ntranslation  {first[i]}\nreference    {references[i]}\n")
    rows, notes, figures = evaluate(runs, sources, references, terms)
    about = [f"{len(references):,} sentences; `{figures['signatures']}`", *notes, *left_out, REPETITION]
    about.append(explain_speed(1, terms.baseline))
    print("\n\n".join([format_table(rows, terms.baseline, terms.metrics), *about]), flush=True)
    draw_picture(rows, terms, arguments.picture)


def score_checkpoints(arguments: argparse.Namespace) -> None:
    """Translate, measure, and write the table, on stdout and with the JSON in the output folder."""
    systems: list[System] = arguments.systems
    names, output = [system.name for system in systems], arguments.output
    wrong = [*find_checkpoint_faults(arguments), *find_faults(arguments, names, {})]
    refuse([*wrong, *find_table_faults(arguments, output)])
    sources, references = read_texts(arguments)
    terms, left_out = make_terms(arguments, names)
    output.mkdir(parents=True, exist_ok=True)
    options = (arguments.data_bin, arguments.user_dir, arguments.gen_subset, arguments.batch_size, arguments.cpu)
    job = generation.Job(*options, output, arguments.speed_rounds)
    made = describe_machine("cpu" if arguments.cpu or not torch.cuda.is_available() else "cuda", VERSIONS)
    try:
        runs = generation.translate_in_turns(systems, job, len(references), made)
    except generation.FailedRunError as error:
        raise SystemExit(str(error)) from error
    rows, notes, figures = evaluate(runs, sources, references, terms)
    everything = [run for rounds in runs.values() for run in rounds]
    machines = dict.fromkeys(", ".join(f"{key} {value}" for key, value in run.made.items()) for run in everything)
    command = shlex.join([NAME, *sys.argv[1:]])
    about = [f"{len(references):,} sentences of {job.gen_subset}; `{figures['signatures']}`", *notes, *left_out]
    about += [REPETITION, explain_speed(job.rounds, terms.baseline), *machines]
    about.append("\n".join(["```bash", command, "# runs", *[first.command for first, *_ in runs.values()], "```"]))
    report = "\n\n".join([format_table(rows, terms.baseline, terms.metrics), *about])
    content: dict[str, Any] = {
        "command": command,
        "gen_subset": job.gen_subset,
        "sentences": len(references),
        **figures,
    }
    content["runs"] = {
        name: {"command": first.command, **first.made, "later_rounds": [run.made for run in later]}
        for name, (first, *later) in runs.items()
    }
    (output / "quality.md").write_text(f"{report}\n", encoding="utf-8")
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (output / RECORD).write_text(f"{text}\n", encoding="utf-8")
    print(report, flush=True)
    draw_picture(rows, terms, arguments.picture)


def analyse(arguments: argparse.Namespace) -> None:
    """Print the tables that show where systems differ."""
    outputs = check_outputs(arguments, {"--train-text": arguments.train_text}, [])
    sources, references = (read_tokens(lines) for lines in read_texts(arguments))
    translations = read_outputs(outputs, arguments.reference, len(references.lines))
    systems = {name: read_tokens(lines) for name, lines in translations.items()}
    print(f"counting words of {arguments.train_text}", file=sys.stderr)
    wanted = {word for tokens in references.tokens for word in tokens}
    try:
        with arguments.train_text.open(encoding="utf-8") as lines:  # may be larger than the memory
            counts = count_words(lines, wanted)
    except UnicodeDecodeError as error:
        raise ValueError(f"--train-text must be text in UTF-8, but {arguments.train_text} is not: {error}") from error
    buckets = length_buckets(sources if arguments.length_of == "source" else references, arguments.buckets)
    tables = [
        f"{len(references.lines):,} sentences; `BLEU {bleu_signature(references)}`; tokens and words: 13a's",
        by_length(systems, references, buckets, arguments.length_of),
        parts_of_bleu(systems, references, arguments.baseline or next(iter(systems))),
        recall(systems, references, counts),
        faults(systems, references),
    ]
    print("\n\n".join(tables))


def run(arguments: argparse.Namespace) -> None:
    """Run the command that was chosen.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if anything does not fit.
    """
    arguments.function(arguments)


def main() -> None:
    """Run; an error is one line."""
    for talkative in ("sacrebleu", "bnb_fairseq"):
        logging.getLogger(talkative).setLevel(logging.WARNING)  # fairseq, once loaded, shows all that is logged
    with one_line_errors(NAME, ValueError, OSError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
