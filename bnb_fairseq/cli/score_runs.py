"""The three commands of ``bnb-score``, once their options are checked."""

import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..evaluation import runs as generation
from ..evaluation.analysis import bleu_signature, count_words, length_buckets, read_tokens
from ..evaluation.analysis_tables import by_length, faults, parts_of_bleu, recall
from ..evaluation.columns import TESTED
from ..evaluation.comparison import Figures, Terms, evaluate, explain_speed, format_table
from ..evaluation.machine import describe_machine
from ..evaluation.means import open_meteor, open_rouge
from ..evaluation.outputs import find_speed, read_lines, read_translations
from ..evaluation.systems import RECORD, System
from ..folder.card import fill_scores
from .command import refuse
from .score_checks import find_metric_faults, outputs_of

VERSIONS = ("torch", "fairseq", "sacrebleu")
REPETITION = "repetition: share of tokens (13a) that equal their left neighbour in the same sentence"


def read_text(option: str, path: Path) -> list[str]:
    """Read the lines of a text; ``option`` is named if they are no UTF-8."""
    try:
        return read_lines(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{option} must be text in UTF-8, but {path} is not: {error}") from error


def read_texts(arguments: Namespace) -> tuple[list[str], list[str]]:
    """Read sources and references; they must have the same number of lines, at least one."""
    sources, references = read_text("--source", arguments.source), read_text("--reference", arguments.reference)
    if len(sources) != len(references):
        found = f"--source {arguments.source} has {len(sources):,}"
        found += f", --reference {arguments.reference} has {len(references):,}"
        raise ValueError(f"--source and --reference must have the same number of lines, but {found}")
    if not references:
        raise ValueError(f"--reference must have at least 1 line, but {arguments.reference} is empty")
    return sources, references


def read_outputs(outputs: Mapping[str, Path], reference: Path, sentences: int) -> dict[str, list[str]]:
    """Read the systems' translations, one for each line of the reference."""
    systems = {}
    for name, path in outputs.items():
        try:
            systems[name] = read_translations(path, sentences)
        except ValueError as error:
            needed = f"a translation of every line of --reference {reference} ({sentences:,})"
            raise ValueError(f"SYSTEM: {name} must have {needed}, but {error}") from error
    return systems


def make_terms(arguments: Namespace, names: Sequence[str]) -> tuple[Terms, list[str]]:
    """Load the metrics; return the terms of the comparison, and the reason if METEOR is left out.

    Raises a ValueError if no metric is left.
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
    """Write the picture, if any, and name the systems that it lacks on stderr."""
    if picture is None:
        return
    from ..evaluation.comparison_picture import draw  # matplotlib need not be installed for the rest

    metric = next(metric for metric in TESTED if metric in terms.metrics)
    if left_out := draw(rows, terms.baseline, picture, metric):
        print(f"--picture lacks {', '.join(left_out)}: fairseq-generate printed no speed", file=sys.stderr)


def score_texts(arguments: Namespace) -> None:
    """Print samples and the table of outputs."""
    outputs = dict(outputs_of(arguments))
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
    report = "\n\n".join([format_table(rows, terms.baseline, terms.metrics), *about])
    print(report, flush=True)
    draw_picture(rows, terms, arguments.picture)
    if arguments.card is not None:
        fill_scores(arguments.card, f"{report}\n\n```bash\n{shlex.join(['bnb-score', *sys.argv[1:]])}\n```")


def score_checkpoints(arguments: Namespace) -> None:
    """Translate, measure, and write the table, on stdout and with the JSON in the output folder."""
    systems: list[System] = arguments.systems
    names, output = [system.name for system in systems], arguments.output
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
    command = shlex.join(["bnb-score", *sys.argv[1:]])
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


def analyse(arguments: Namespace) -> None:
    """Print the tables that show where systems differ."""
    outputs = dict(outputs_of(arguments))
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
