"""Train an n-gram model of the target language, which the CTC beam search uses to score its texts.

DATA is a folder made by fairseq-preprocess, whose target side is read as symbols of its dictionary, or a text file of
symbols separated by spaces. The model has modified Kneser-Ney smoothing and is written as an ARPA file, which KenLM
reads. KenLM's own build_binary turns it into a file that loads at once.
"""

import sys
import time
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path

from .command import Command, add_part, find_output_faults, find_part_faults, find_small

LONGEST_ORDER = 6  # that KenLM reads, unless it was built for more


def add_options(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder made by fairseq-preprocess, or text file of symbols")
    add("--output", type=Path, required=True, metavar="FILE", help="ARPA file to write")
    add("--order", type=int, default=5, metavar="N", help="longest n-gram, in symbols (default: 5)")
    add(
        "--min-count",
        type=int,
        default=1,
        metavar="N",
        help="least count of n-grams of three symbols and more that are kept (default: 1, all)",
    )
    add(
        "--digits",
        type=int,
        default=8,
        metavar="N",
        help="significant digits of the logarithms; 4 make the packed file a quarter smaller (default: 8)",
    )
    add_part(parser, "--subset", "train", "train on, if DATA is a folder")
    add("--target-lang", metavar="LANG", help="target language of a folder (default: as its file names say)")
    add("--valid", metavar="PART", help="part of the folder, or text file, whose perplexity is shown; needs KenLM")


def find_faults(arguments: Namespace) -> list[str]:
    """Check the options before anything is loaded."""
    data, valid, output = arguments.data, arguments.valid, arguments.output
    faults = []
    if not 1 <= arguments.order <= LONGEST_ORDER:
        faults.append(f"--order must be from 1 to {LONGEST_ORDER}, but is {arguments.order}")
    faults += find_small(arguments, {"min_count": 1, "digits": 1})
    if data.is_dir():
        faults += find_part_faults(data, {"--subset": arguments.subset, "--valid": valid})
    elif not data.is_file():
        faults.append(f"DATA must be a folder made by fairseq-preprocess or a text file, but there is no {data}")
    elif valid is not None and not Path(valid).is_file():
        faults.append(f"--valid must be a text file as DATA is, but there is no file {valid}")
    faults += find_output_faults("--output", output)
    if data.is_file() and output.exists() and output.samefile(data):
        faults.append(f"--output must not be DATA, but both are {data}")
    if valid is not None and find_spec("kenlm") is None:
        faults.append("--valid needs KenLM, but it is not installed; pip install kenlm")
    return faults


def run(arguments: Namespace) -> None:
    """Train a model and report."""
    from ..generation.kneser_ney import count, smooth, write_arpa
    from ..generation.ngram_corpus import perplexity, read_data_bin, read_text

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
    write_arpa(orders, corpus.words, arguments.output, say, arguments.digits)
    say(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:,.1f} MB")
    if arguments.valid is not None:
        held_out = (
            read_data_bin(arguments.data, arguments.valid, arguments.target_lang)
            if is_folder
            else read_text(Path(arguments.valid), corpus.words)
        )
        say(f"{arguments.valid}: {perplexity(arguments.output, held_out)}")


COMMAND = Command("bnb-ngram", __doc__, add_options, run, find_faults)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
