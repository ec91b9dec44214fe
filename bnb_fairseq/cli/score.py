r"""Score translations of a test set: quality, speed, significance of differences, and where systems differ.

    bnb-score texts "NAME=OUTPUT" ...         samples and scores of outputs of bnb-translate or fairseq-generate
    bnb-score checkpoints DATA_BIN "NAME=CHECKPOINT [OPTIONS]" ...
                                              translate with each system in turns, then the same scores
    bnb-score analysis "NAME=OUTPUT" ...      where systems lose: by length, n-gram, word frequency, kind of fault

All need --source and --reference, the raw texts. `bnb-score COMMAND --help` lists options and columns.
"""

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from ..evaluation.columns import DEFAULT, METRICS
from ..evaluation.systems import find_outputs, parse_system
from .command import Command, add_batch_size, add_cpu, add_data_bin, add_part, reading
from .score_checks import FORMATS, find_faults

PACKAGE = Path(__file__).resolve().parents[1]
COLUMNS = """
BLEU, chrF    sacrebleu's, of the detokenised output against the raw reference
mean ± 95%    of BLEU, over the samples of sacrebleu's paired bootstrap
p             of the difference in BLEU to the baseline, from the same test
length ratio  tokens (sacrebleu's 13a, as in BLEU) of the output over those of the reference
repetition %  share of tokens (13a) that equal their left neighbour in the same sentence
sentences/s   as fairseq-generate prints it: generation only
ratio         of sentences/s to the baseline's

--metrics chooses the columns in the middle: bleu and chrf (the default), rouge, meteor:

ROUGE-1/2/L   F1 of rouge-score, percent, mean over sentences; with mean ± 95% and p of ROUGE-L
METEOR        NLTK's, percent, mean over sentences, likewise; left out where WordNet is not installed

--picture draws BLEU over sentences/s; without bleu among --metrics, ROUGE-L or METEOR.
"""
TEXTS = f"""Score translations, and show samples. The copied source is scored, too.

A SYSTEM is NAME=OUTPUT, of bnb-translate or fairseq-generate, or the folder of `bnb-score checkpoints`, which holds
several.
{COLUMNS}"""
CHECKPOINTS = rf"""Compare checkpoints on one test set.

A SYSTEM is NAME=CHECKPOINT, followed by its own options of fairseq-generate, if any:

    bnb-score checkpoints data-bin --source text/test.en --reference text/test.de --output quality \
        "ctc=run-ctc/checkpoint_best.pt" "bert2bert, beam 5=run-b2b/checkpoint_best.pt --beam 5 --max-len-b 100"

The command runs fairseq-generate for each system and keeps the outputs in the output folder. It reuses an output while
command, checkpoint and data are the same. quality.md has the printed report, quality.json its figures.

With --speed-rounds N every system runs N times in turns. The first output is scored; sentences/s is the median of the
rounds ± half the distance between the slowest and the fastest, in percent. Earlier rounds are reused, too.
{COLUMNS}"""
ANALYSIS = r"""Show where one system loses against another.

A SYSTEM is NAME=OUTPUT of fairseq-generate, or the folder of `bnb-score checkpoints`, which holds several:

    bnb-score analysis quality "old=output.txt" --source text/test.en --reference text/test.de \
        --train-text text/train.de

The command prints tables in Markdown with a column for each system. Tokens and words are sacrebleu's 13a,
case-sensitive.

by length       BLEU and length ratio of sentences of similar length, in buckets of about equal numbers of sentences
parts of BLEU   precisions of 1- to 4-grams (sacrebleu's, smoothed where nothing matches) and the brevity penalty; and
                the factor that each adds: the product of the factors is the ratio of BLEU to the baseline's
recall          of the references' words, by their frequency in the training text; a word that is n times in a
                reference and m times in its translation counts as found min(n, m) times
shares          tokens that equal their left neighbour in the same sentence; sentences that are empty, have exactly the
                reference's tokens, or less than 80% or more than 125% as many
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the three commands."""
    style = RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    texts, outputs, table = (ArgumentParser(add_help=False) for _ in range(3))
    add = texts.add_argument
    add("--source", type=Path, required=True, metavar="FILE", help="raw source text")
    add("--reference", type=Path, required=True, metavar="FILE", help="raw reference text")
    add("--baseline", metavar="NAME", help="system to compare the others with (default: the first)")
    add = outputs.add_argument
    add("systems", nargs="+", type=reading(find_outputs), metavar="SYSTEM", help="NAME=OUTPUT or a folder")
    add = table.add_argument
    add(
        "--metrics", nargs="+", choices=METRICS, default=DEFAULT, metavar="METRIC", help=f"some of {', '.join(METRICS)}"
    )
    add("--bootstrap", type=int, default=1000, metavar="N", help="samples of the test set (default: 1000)")
    add("--bootstrap-seed", type=int, default=12345, metavar="N", help="seed of the samples (default: 12345)")
    add("--picture", type=Path, metavar="FILE", help=f"picture to write ({', '.join(FORMATS)})")

    of_texts = commands.add_parser("texts", description=TEXTS, formatter_class=style, parents=[outputs, texts, table])
    add = of_texts.add_argument
    add("--samples", type=int, default=10, metavar="N", help="translations of the first system to show (default: 10)")

    add("--card", type=Path, metavar="FOLDER", help="model folder whose card gets the table")

    parents = [texts, table]
    of_checkpoints = commands.add_parser("checkpoints", description=CHECKPOINTS, formatter_class=style, parents=parents)
    add = of_checkpoints.add_argument
    add_data_bin(of_checkpoints)
    add("systems", nargs="+", type=reading(parse_system), metavar="SYSTEM", help='"NAME=CHECKPOINT [OPTIONS]"')
    add("--output", type=Path, required=True, metavar="FOLDER", help="folder for outputs, table and JSON")
    add_part(of_checkpoints, "--gen-subset", "test")
    add_batch_size(of_checkpoints)
    add("--speed-rounds", type=int, default=1, metavar="N", help="runs of each system (default: 1)")
    add_cpu(of_checkpoints)
    plugin = Path(os.path.relpath(PACKAGE))
    add("--user-dir", type=Path, default=plugin, metavar="FOLDER", help=f"fairseq plugin (default: {plugin})")

    of_analysis = commands.add_parser("analysis", description=ANALYSIS, formatter_class=style, parents=[outputs, texts])
    add = of_analysis.add_argument
    add("--train-text", type=Path, required=True, metavar="FILE", help="raw target side of the training data")
    add(
        "--length-of",
        choices=("source", "reference"),
        default="source",
        help="side by whose length sentences are sorted into buckets (default: source)",
    )
    add("--buckets", type=int, default=5, metavar="N", help="buckets of length (default: 5)")


def run(arguments: Namespace) -> None:
    """Run the chosen command."""
    from . import score_runs

    commands = {
        "texts": score_runs.score_texts,
        "checkpoints": score_runs.score_checkpoints,
        "analysis": score_runs.analyse,
    }
    commands[arguments.command](arguments)


COMMAND = Command("bnb-score", __doc__, add_options, run, find_faults)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
