"""Train an n-gram model of the target language, with which a CTC beam search can judge its texts.

DATA is a folder made by fairseq-preprocess, whose target side is read as the symbols of its dictionary, or a text file
of symbols separated by spaces. The model has modified Kneser-Ney smoothing and is written as an ARPA file, which KenLM
reads; with KenLM's own build_binary it can be turned into a file that loads at once.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from ..generation.kneser_ney import count, smooth, write_arpa
from ..generation.ngram_corpus import perplexity, read_data_bin, read_text
from .errors import one_line_errors

PROG = "bnb-ngram"
LONGEST_ORDER = 6  # that KenLM reads, unless it was built for more


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder made by fairseq-preprocess, or text file of symbols")
    add("--output", type=Path, required=True, help="ARPA file to write")
    add("--order", type=int, default=5, help="longest n-gram, in symbols (default: 5)")
    add(
        "--min-count",
        type=int,
        default=1,
        help="leave out n-grams of three symbols and more that are seen less often: a smaller file (default: 1, none)",
    )
    add("--subset", default="train", help="part of a folder to train on (default: train)")
    add("--target-lang", help="target language of a folder (default: what its files say)")
    add("--valid", help="part of the folder, or text file, on which to report the perplexity; needs KenLM")
    return parser.parse_args(argv)


def check(arguments: argparse.Namespace) -> None:
    """See that the arguments make sense, before anything is loaded.

    Args:
        arguments: the command line.

    Raises:
        ValueError: naming every option that does not, its constraint and its value.
    """
    problems = []
    data, valid = arguments.data, arguments.valid
    if not 1 <= arguments.order <= LONGEST_ORDER:
        problems.append(f"--order must be from 1 to {LONGEST_ORDER}, but is {arguments.order}")
    if arguments.min_count < 1:
        problems.append(f"--min-count must be at least 1, but is {arguments.min_count}")
    if data.is_dir():
        parts = sorted({path.name.split(".")[0] for path in data.glob("*.idx")})
        for name, part in (("--subset", arguments.subset), ("--valid", valid)):
            if part is not None and part not in parts:
                problems.append(f"{name} must be a part of {data} ({', '.join(parts) or 'it has none'}), but is {part}")
    elif not data.is_file():
        problems.append(f"DATA must be a folder made by fairseq-preprocess or a text file, but there is no {data}")
    elif valid is not None and not Path(valid).is_file():
        problems.append(f"--valid must be a text file as DATA is, but there is no file {valid}")
    if arguments.output.is_dir() or not arguments.output.parent.is_dir():
        problems.append(f"--output must be a file in a folder that exists, but is {arguments.output}")
    elif data.is_file() and arguments.output.exists() and arguments.output.samefile(data):
        problems.append(f"--output must not be DATA, but both are {data}")
    if valid is not None:
        try:
            import kenlm  # noqa: F401  # rather missed now than after the training
        except ImportError:
            problems.append("--valid needs KenLM (pip install kenlm), but it is not installed")
    if problems:
        raise ValueError("; ".join(problems))


def run(arguments: argparse.Namespace) -> None:
    """Train a model and report.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if anything does not fit.
    """
    check(arguments)
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {line}", flush=True)

    is_folder = arguments.data.is_dir()
    if is_folder:
        corpus = read_data_bin(arguments.data, arguments.subset, arguments.target_lang)
    else:
        corpus = read_text(arguments.data)
    symbols = sum(map(len, corpus.sentences))
    if not symbols:
        raise ValueError(f"DATA must contain symbols, but {arguments.data} has none")
    say(f"read: {len(corpus.sentences):,} sentences, {symbols:,} symbols, {len(corpus.words):,} different ones")
    counted = []
    for counts in count(corpus.sentences, arguments.order, len(corpus.words)):
        counted.append(counts)
        say(f"counted: {len(counts.words):,} n-grams of order {len(counted)}")
    orders = smooth(counted, arguments.min_count)
    for n, order in enumerate(orders, start=1):
        remark = " (fixed: the text is too small to estimate them)" if order.fell_back else ""
        say(f"order {n}: discounts {', '.join(f'{discount:.3f}' for discount in order.discounts)}{remark}")
    write_arpa(orders, corpus.words, arguments.output, say)
    say(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:,.1f} MB")
    if arguments.valid is not None:
        held_out = (
            read_data_bin(arguments.data, arguments.valid, arguments.target_lang)
            if is_folder
            else read_text(Path(arguments.valid), corpus.words)
        )
        say(f"{arguments.valid}: {perplexity(arguments.output, held_out)}")


def main() -> None:
    """Run; an error is one line."""
    with one_line_errors(PROG, ValueError, OSError, ImportError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
