r"""Show where one system loses against another: by length, n-gram, frequency of words, and kind of fault.

A SYSTEM is ``NAME=OUTPUT`` of fairseq-generate, or the folder of benchmark_quality.py, which holds several:

    python scripts/analyse_translation.py quality "old=output.txt" --source text/test.en --reference text/test.de \
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

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from quality.analysis import Text, bleu_signature, count_words, length_buckets, read_tokens
from quality.breakdown import by_length, faults, parts_of_bleu, recall
from quality.systems import output_file, positive
from report_translation import read_lines, read_translations

RECORD = "quality.json"


def find_outputs(text: str) -> list[tuple[str, Path]]:
    """Read one SYSTEM of the command line.

    Args:
        text: ``NAME=OUTPUT``, or a folder of benchmark_quality.py.

    Returns:
        Names and output files.

    Raises:
        ArgumentTypeError: if it is neither.
    """
    folder = Path(text)
    if folder.is_dir():
        record = folder / RECORD
        try:
            names = list(json.loads(record.read_text(encoding="utf-8"))["runs"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise argparse.ArgumentTypeError(
                f"a folder must be one that benchmark_quality.py has filled, but {record} has no runs ({error!r})"
            ) from error
        return [(name, folder / output_file(name)) for name in names]
    name, equals, file = (part.strip() for part in text.partition("="))
    if not (name and name.isprintable() and equals and file):
        raise argparse.ArgumentTypeError(f"must be NAME=OUTPUT or a folder of benchmark_quality.py, but is {text!r}")
    return [(name, Path(file))]


def make_parser() -> argparse.ArgumentParser:
    """Declare the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="+", type=find_outputs, metavar="SYSTEM", help="NAME=OUTPUT or a folder")
    parser.add_argument("--source", type=Path, required=True, help="raw source text")
    parser.add_argument("--reference", type=Path, required=True, help="raw reference text")
    parser.add_argument("--train-text", type=Path, required=True, help="raw target side of the training data")
    parser.add_argument("--baseline", metavar="NAME", help="system that BLEU is compared with (default: the first)")
    parser.add_argument(
        "--length-of",
        choices=("source", "reference"),
        default="source",
        help="side whose length puts a sentence into its bucket (default: source)",
    )
    parser.add_argument("--buckets", type=positive, default=5, metavar="N", help="buckets of length (default: 5)")
    return parser


def check(arguments: argparse.Namespace) -> dict[str, Path]:
    """Check what can be checked before the files are read.

    Args:
        arguments: the command line.

    Returns:
        Output files by the system's name.

    Raises:
        ValueError: with everything that is wrong, a line each.
    """
    outputs = [output for found in arguments.systems for output in found]
    names = [name for name, _ in outputs]
    twice = sorted({name for name in names if names.count(name) > 1})
    wrong = [
        f"SYSTEM: every NAME must be given once, but {name!r} is given {names.count(name)} times" for name in twice
    ]
    if arguments.baseline not in (None, *names):
        wrong.append(f"--baseline must be one of {names}, but is {arguments.baseline!r}")
    inputs = {"--source": arguments.source, "--reference": arguments.reference, "--train-text": arguments.train_text}
    inputs |= {f"SYSTEM: OUTPUT of {name}": path for name, path in outputs}
    wrong += [f"{option} must be a file, but is {path}" for option, path in inputs.items() if not path.is_file()]
    if wrong:
        raise ValueError("\n".join(wrong))
    return dict(outputs)


def read_text(option: str, path: Path) -> list[str]:
    """Read the lines of a text; ``option`` is named if they are no UTF-8."""
    try:
        return read_lines(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{option} must be text in UTF-8, but {path} is not: {error}") from error


def read_texts(arguments: argparse.Namespace, outputs: dict[str, Path]) -> tuple[dict[str, Text], Text, Text]:
    """Read translations, sources and references.

    Args:
        arguments: the command line.
        outputs: output files by the system's name.

    Returns:
        The systems' translations by name, the sources, the references.

    Raises:
        ValueError: if they do not belong together.
    """
    sources, references = read_text("--source", arguments.source), read_text("--reference", arguments.reference)
    if len(sources) != len(references):
        found = f"--source {arguments.source} has {len(sources):,}"
        found += f", --reference {arguments.reference} has {len(references):,}"
        raise ValueError(f"--source and --reference must have the same number of lines, but {found}")
    systems = {}
    for name, path in outputs.items():
        try:
            systems[name] = read_tokens(read_translations(path, len(references)))
        except ValueError as error:
            needed = f"a translation of every line of --reference {arguments.reference} ({len(references):,})"
            raise ValueError(f"SYSTEM: {name} must have {needed}, but {error}") from error
    return systems, read_tokens(sources), read_tokens(references)


def count_training_words(path: Path, references: Text) -> Counter[str]:
    """Count the references' words in the training text, which is not read as a whole.

    Args:
        path: its file.
        references: the references.

    Returns:
        The counts.

    Raises:
        ValueError: if it is no UTF-8.
    """
    print(f"counting words of {path}", file=sys.stderr)
    wanted = {word for tokens in references.tokens for word in tokens}
    try:
        with path.open(encoding="utf-8") as lines:
            return count_words(lines, wanted)
    except UnicodeDecodeError as error:
        raise ValueError(f"--train-text must be text in UTF-8, but {path} is not: {error}") from error


def main() -> None:
    """Read, count, and print the tables."""
    parser = make_parser()
    arguments = parser.parse_args()
    try:
        systems, sources, references = read_texts(arguments, check(arguments))
        counts = count_training_words(arguments.train_text, references)
    except ValueError as error:
        parser.error(str(error))
    first, *_ = systems
    buckets = length_buckets(sources if arguments.length_of == "source" else references, arguments.buckets)
    tables = [
        f"{len(references.lines):,} sentences; `BLEU {bleu_signature(references)}`; tokens and words: 13a's",
        by_length(systems, references, buckets, arguments.length_of),
        parts_of_bleu(systems, references, arguments.baseline or first),
        recall(systems, references, counts),
        faults(systems, references),
    ]
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
