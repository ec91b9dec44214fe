"""Count where a text has spaces between BERT's words, and tell how many lines of a text are restored exactly.

    python -m bnb_fairseq.cli.count_spaces text/train.de --test text/test.de

fairseq-preprocess counts the training text of a WordPiece vocabulary by itself. This command makes the counts that the
package has for texts without any of their own, and measures.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from .command import Command, find_output_faults, find_small


def add_options(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("texts", nargs="*", type=Path, metavar="TEXT", help="texts to count (default: none)")
    add("--lower-case", action="store_true", help="read every text in small letters; accents stay")
    text = "count N lines in a row as a paragraph, too (default: 1, no paragraphs)"
    add("--paragraph", type=int, default=1, metavar="N", help=text)
    add("--output", type=Path, metavar="FILE", help="file to write the counts to")
    add("--test", nargs="+", type=Path, default=[], metavar="TEXT", help="texts to restore")


def find_faults(arguments: Namespace) -> list[str]:
    """Check the options before anything is loaded."""
    faults = find_small(arguments, {"paragraph": 1})
    if not arguments.texts and (arguments.output or not arguments.test):
        faults.append("TEXT or --test must be given, and TEXT with --output")
    return faults if arguments.output is None else [*faults, *find_output_faults("--output", arguments.output)]


def read_lines(path: Path, lower_case: bool) -> list[str]:
    """Read a text, with one space for any white space."""
    lines = [" ".join(line.split()) for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n")]
    return [line.lower() for line in lines] if lower_case else lines


def with_paragraphs(lines: Sequence[str], size: int) -> list[str]:
    """Return the lines and, where ``size`` is above 1, paragraphs of so many lines, which have ends of sentences."""
    paragraphs = [" ".join(lines[i : i + size]) for i in range(0, len(lines), size)] if size > 1 else []
    return [*lines, *paragraphs]


def run(arguments: Namespace) -> None:
    """Count, write and measure."""
    from tokenizers.implementations import BertWordPieceTokenizer

    from ..data.spaces import Spaces, general_spaces
    from ..data.subword import BERT_SPECIALS
    from ..data.wordpiece import WordPiece

    lower_case = arguments.lower_case
    vocabulary = {symbol: number for number, symbol in enumerate(BERT_SPECIALS)}
    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=lower_case, strip_accents=False)
    words = WordPiece(tokenizer._tokenizer, "")  # splits text into words as every BERT does
    tables = {"the package's": general_spaces(lower_case)}
    if arguments.texts:
        texts = (read_lines(text, lower_case) for text in arguments.texts)
        lines = chain.from_iterable(with_paragraphs(text, arguments.paragraph) for text in texts)
        tables["these texts'"] = counted = Spaces.count(map(words.split, lines))
        if arguments.output:
            counted.save(arguments.output)
            print(f"{arguments.output}: {arguments.output.stat().st_size / 1000:.0f} kB")
    for test in arguments.test:
        tested = read_lines(test, lower_case)
        shares = []
        for whose, spaces in tables.items():
            restored = sum(spaces.join(words.split(line)[0]) == line for line in tested)
            shares.append(f"{100 * restored / len(tested):.1f}% by {whose}")
        print(f"{test}: of {len(tested):,} lines {', '.join(shares)} counts restored exactly")


COMMAND = Command("count_spaces", __doc__, add_options, run, find_faults)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
