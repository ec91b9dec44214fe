r"""Compare checkpoints on one test set: quality, speed, and whether a difference may be chance.

A SYSTEM is ``NAME=CHECKPOINT``, with options of fairseq-generate behind it where it needs some:

    python scripts/benchmark_quality.py data-bin --source text/test.en --reference text/test.de --output quality \
        "ctc=run-ctc/checkpoint_best.pt" "bert2bert, beam 5=run-b2b/checkpoint_best.pt --beam 5 --max-len-b 100"

fairseq-generate runs for one system after the other. Its output stays in the output folder, and is used again while
its command, the checkpoint and the data are the same. quality.md there holds what is printed, quality.json its figures.

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

With --speed-rounds N every system runs N times in turns, round after round. The first output is scored; sentences/s is
the median of the rounds ± half the distance between the slowest and the fastest, in percent. Rounds that were measured
before are used again, too. --picture draws BLEU over sentences/s, or ROUGE-L or METEOR where --metrics has no bleu.
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
from quality import generation
from quality.means import TESTED_MEANS, MeanFigures, measure_means, open_meteor, open_rouge
from quality.report import DEFAULT, METRICS, TESTED, Figures, explain_speed, format_table, measure
from quality.systems import System, parse_system, positive
from report_translation import Significance, compare, read_lines

from bnb_fairseq.evaluation.machine import describe_machine

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("torch", "fairseq", "sacrebleu")
FORMATS = (".png", ".pdf", ".svg")


def find_faults(arguments: argparse.Namespace) -> list[str]:
    """Check what can be checked before anything runs, and return everything that is wrong."""
    systems: list[System] = arguments.systems
    folders = {"DATA_BIN": arguments.data_bin, "--user-dir": arguments.user_dir}
    texts = {"--source": arguments.source, "--reference": arguments.reference}
    faults = [f"{option} must be a folder, but is {path}" for option, path in folders.items() if not path.is_dir()]
    faults += [f"{option} must be a file, but is {path}" for option, path in texts.items() if not path.is_file()]
    if arguments.output.exists() and not arguments.output.is_dir():
        faults.append(f"--output must be a folder, but is {arguments.output}")
    if all(path.is_file() for path in texts.values()):
        lines = {option: len(read_lines(path)) for option, path in texts.items()}
        if len(set(lines.values())) > 1:
            found = ", ".join(f"{option} {texts[option]} has {count:,}" for option, count in lines.items())
            faults.append(f"--source and --reference must have the same number of lines, but {found}")
    if missing := [str(file) for system in systems for file in system.checkpoints if not file.is_file()]:
        faults.append(f"SYSTEM: every checkpoint must be a file, but these are missing: {', '.join(missing)}")
    names = [system.name for system in systems]
    files = [system.file.casefold() for system in systems]
    for file in sorted({file for file in files if files.count(file) > 1}):
        sharing = [name for name, other in zip(names, files, strict=True) if other == file]
        faults.append(f"SYSTEM: every NAME needs an output file of its own, but {sharing} would share {file}")
    if arguments.baseline not in (None, *names):
        faults.append(f"--baseline must be one of {names}, but is {arguments.baseline!r}")
    if not generation.GENERATE.is_file():
        program = generation.GENERATE
        faults.append(f"fairseq must be installed for the Python that runs this, but there is no {program}")
    if "rouge" in arguments.metrics and find_spec("rouge_score") is None:
        faults.append("--metrics rouge needs rouge-score, but it is not installed; pip install rouge-score")
    if "meteor" in arguments.metrics and find_spec("nltk") is None:
        faults.append("--metrics meteor needs NLTK, but it is not installed; pip install nltk")
    if not arguments.metrics:
        faults.append("--metrics needs another metric beside meteor, which is left out")
    return faults + ([] if arguments.picture is None else find_picture_faults(arguments))


def find_picture_faults(arguments: argparse.Namespace) -> list[str]:
    """Check what --picture needs; the output folder, which need not exist yet, may hold it."""
    picture, output, faults = arguments.picture, arguments.output, []
    if not TESTED.keys() & set(arguments.metrics):
        needed, given = " or ".join(TESTED), " ".join(arguments.metrics)
        faults.append(f"--picture needs {needed} among --metrics, but they are {given}")
    if picture.suffix.lower() not in FORMATS:
        faults.append(f"--picture must end in {', '.join(FORMATS)}, but is {picture}")
    if picture.is_dir():
        faults.append(f"--picture must be a file, but {picture} is a folder")
    elif not picture.parent.is_dir() and picture.parent.resolve() != output.resolve():
        faults.append(f"--picture must lie in a folder that exists, but {picture.parent} is none")
    if find_spec("matplotlib") is None:
        faults.append("--picture needs matplotlib, but it is not installed; pip install matplotlib")
    return faults


def parse_arguments() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_bin", type=Path, metavar="DATA_BIN", help="folder made by fairseq-preprocess")
    parser.add_argument("systems", nargs="+", type=parse_system, metavar="SYSTEM", help='"NAME=CHECKPOINT [OPTIONS]"')
    parser.add_argument("--source", type=Path, required=True, help="raw source text")
    parser.add_argument("--reference", type=Path, required=True, help="raw reference text")
    parser.add_argument("--output", type=Path, required=True, help="folder for outputs, table and JSON")
    parser.add_argument("--baseline", metavar="NAME", help="system to test the others against (default: the first)")
    parser.add_argument(
        "--metrics", nargs="+", choices=METRICS, default=DEFAULT, metavar="METRIC", help=f"some of {', '.join(METRICS)}"
    )
    parser.add_argument("--bootstrap", type=positive, default=1000, help="samples of the test set (default: 1000)")
    parser.add_argument("--bootstrap-seed", type=positive, default=12345, help="(default: 12345, sacrebleu's)")
    parser.add_argument("--gen-subset", default="test", help="part of the data to translate (default: test)")
    parser.add_argument("--batch-size", type=positive, default=64, help="sentences in a batch (default: 64)")
    parser.add_argument("--speed-rounds", type=positive, default=1, metavar="N", help="runs of each (default: 1)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help=f"picture to write ({', '.join(FORMATS)})")
    parser.add_argument("--cpu", action="store_true", help="translate on the CPU")
    plugin = Path(os.path.relpath(ROOT / "bnb_fairseq"))
    parser.add_argument("--user-dir", type=Path, default=plugin, help=f"fairseq plugin (default: {plugin})")
    arguments = parser.parse_args()
    faults = find_faults(arguments)
    arguments.meteor, arguments.left_out = None, ""
    if "meteor" in arguments.metrics and not faults:
        arguments.meteor, arguments.left_out = open_meteor()
        if arguments.left_out:
            print(f"warning: {arguments.left_out}", file=sys.stderr, flush=True)
            arguments.metrics = [metric for metric in arguments.metrics if metric != "meteor"]
            faults = find_faults(arguments)
    if faults:
        parser.error("\n".join(faults))
    arguments.baseline = arguments.baseline or arguments.systems[0].name
    return arguments


def draw_picture(rows: Sequence[Figures], arguments: argparse.Namespace) -> None:
    """Write the picture, and say on stderr which systems it lacks."""
    from quality.picture import draw  # matplotlib need not be installed for the rest

    metric = next(metric for metric in TESTED if metric in arguments.metrics)
    if left_out := draw(rows, arguments.baseline, arguments.picture, metric):
        print(f"--picture lacks {', '.join(left_out)}: fairseq-generate printed no speed", file=sys.stderr)


def evaluate(
    runs: Mapping[str, Sequence[generation.Run]],
    sources: Sequence[str],
    references: Sequence[str],
    arguments: argparse.Namespace,
) -> tuple[list[Figures], list[str], dict[str, Any]]:
    """Score what the systems wrote.

    Args:
        runs: what each wrote, one a round.
        sources: raw source text.
        references: raw references.
        arguments: the command line.

    Returns:
        The rows of the table; what its figures are, for the reader; and the same for the JSON.
    """
    translations = {name: rounds[0].translations for name, rounds in runs.items()}
    metrics, baseline = arguments.metrics, arguments.baseline
    samples, seed = arguments.bootstrap, arguments.bootstrap_seed
    against = f"against {baseline}, {samples:,} samples, seed {seed}"
    equal = "equal: no sample tells the two apart"
    texts = (translations, sources, references, baseline, samples, seed)
    tests: dict[str, Significance] = {}
    means: dict[str, dict[str, MeanFigures]] = {}
    tested, notes, signatures = None, [], []
    if "bleu" in metrics:
        tests, tested = compare(translations, references, baseline, samples, seed)
        notes.append(f"p: paired bootstrap on BLEU {against} (`{tested}`); {equal}")
    for metric in (metric for metric in TESTED_MEANS if metric in metrics):
        judge = arguments.meteor if metric == "meteor" else open_rouge()
        means[metric] = measure_means(judge, TESTED_MEANS[metric], *texts)
        signatures.append(f"{metric.upper()} {judge.signature}")
        notes.append(f"p of {TESTED[metric]}: paired bootstrap on its mean over the sentences {against}; {equal}")
    if arguments.left_out:
        notes.append(arguments.left_out)
    rows, of_sacrebleu = measure(runs, tests, sources, references, baseline, means)
    if not means.keys() >= set(metrics):
        signatures.insert(0, of_sacrebleu)
    scored = ", ".join(signatures)
    notes.insert(0, f"{len(references):,} sentences of {arguments.gen_subset}; `{scored}`")
    bootstrap = {"baseline": baseline, "samples": samples, "seed": seed, "signature": tested}
    return rows, notes, {"bootstrap": bootstrap, "signatures": scored, "rows": [row.as_json() for row in rows]}


def main() -> None:
    """Translate, measure, and write the table, on stdout and with the JSON in the output folder."""
    for talkative in ("sacrebleu", "bnb_fairseq"):
        logging.getLogger(talkative).setLevel(logging.WARNING)  # fairseq, once loaded, shows all that is logged
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    sources, references = read_lines(arguments.source), read_lines(arguments.reference)
    made = describe_machine("cpu" if arguments.cpu or not torch.cuda.is_available() else "cuda", VERSIONS)
    runs = generation.translate_in_turns(arguments.systems, arguments, len(references), made)
    rows, scored, figures = evaluate(runs, sources, references, arguments)
    everything = [run for rounds in runs.values() for run in rounds]
    machines = dict.fromkeys(", ".join(f"{key} {value}" for key, value in run.made.items()) for run in everything)
    command = shlex.join(["python", *sys.argv])
    notes = [
        *scored,
        "repetition: share of tokens (13a) that equal their left neighbour in the same sentence",
        explain_speed(arguments.speed_rounds, arguments.baseline),
        *machines,
        "\n".join(["```bash", command, "# runs", *[rounds[0].command for rounds in runs.values()], "```"]),
    ]
    report = "\n\n".join([format_table(rows, arguments.baseline, arguments.metrics), *notes])
    content = {
        "command": command,
        "gen_subset": arguments.gen_subset,
        "sentences": len(references),
        **figures,
        "runs": {
            name: {"command": first.command, **first.made, "later_rounds": [run.made for run in later]}
            for name, (first, *later) in runs.items()
        },
    }
    (arguments.output / "quality.md").write_text(f"{report}\n", encoding="utf-8")
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (arguments.output / "quality.json").write_text(f"{text}\n", encoding="utf-8")
    print(report, flush=True)
    if arguments.picture is not None:
        draw_picture(rows, arguments)


if __name__ == "__main__":
    main()
