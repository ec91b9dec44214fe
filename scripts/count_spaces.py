"""Count where a text has spaces between BERT's words, and tell how many lines of a text are restored exactly.

``fairseq-preprocess`` counts the training text of a WordPiece vocabulary by itself. This script makes the counts that
the package has for texts without any of their own, and measures.
"""

import argparse
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from tokenizers.implementations import BertWordPieceTokenizer

from bnb_fairseq.cli.errors import one_line_errors
from bnb_fairseq.data.spaces import Spaces, general_spaces
from bnb_fairseq.data.subword import BERT_SPECIALS
from bnb_fairseq.data.wordpiece import WordPiece


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", type=Path, metavar="TEXT", help="texts to count (default: none)")
    parser.add_argument("--lower-case", action="store_true", help="read every text in small letters, accents stay")
    parser.add_argument(
        "--paragraph", type=int, default=1, metavar="N", help="count N lines in a row as a paragraph, too (default: 1)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the counts")
    parser.add_argument("--test", nargs="+", type=Path, default=[], metavar="TEXT", help="texts to restore")
    return parser.parse_args()


def read_lines(path: Path, lower_case: bool) -> list[str]:
    """Read a text, with one space for any white space."""
    lines = [" ".join(line.split()) for line in path.read_text(encoding="utf-8").split("\n")]
    lines = lines if lines[-1] else lines[:-1]
    return [line.lower() for line in lines] if lower_case else lines


def with_paragraphs(lines: Sequence[str], size: int) -> list[str]:
    """Return the lines, and behind them paragraphs of some lines each, which show what stands between sentences."""
    paragraphs = [" ".join(lines[i : i + size]) for i in range(0, len(lines), size)] if size > 1 else []
    return [*lines, *paragraphs]


def splitter(lower_case: bool) -> WordPiece:
    """Make a tokenizer that splits text into words as every BERT does."""
    vocabulary = {symbol: number for number, symbol in enumerate(BERT_SPECIALS)}
    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=lower_case, strip_accents=False)
    return WordPiece(tokenizer._tokenizer, "")


def restored(spaces: Spaces, words: WordPiece, lines: Sequence[str]) -> float:
    """Return the share of lines that come out as they were, once split into words and joined again."""
    return sum(spaces.join(words.split(line)[0]) == line for line in lines) / max(len(lines), 1)


def run(arguments: argparse.Namespace) -> None:
    """Count, write and measure.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if there is nothing to do.
    """
    if arguments.paragraph < 1:
        raise ValueError(f"--paragraph must be at least 1, but is {arguments.paragraph}")
    if not arguments.texts and (arguments.output or not arguments.test):
        raise ValueError("TEXT or --test must be given, and TEXT with --output")
    words = splitter(arguments.lower_case)
    tables = {"the package's": general_spaces(arguments.lower_case)}
    if arguments.texts:
        texts = (read_lines(text, arguments.lower_case) for text in arguments.texts)
        lines = chain.from_iterable(with_paragraphs(text, arguments.paragraph) for text in texts)
        tables["these texts'"] = counted = Spaces.count(map(words.split, lines))
        if arguments.output:
            counted.save(arguments.output)
            print(f"{arguments.output}: {arguments.output.stat().st_size / 1000:.0f} kB")
    for test in arguments.test:
        tested = read_lines(test, arguments.lower_case)
        shares = ", ".join(f"{100 * restored(table, words, tested):.1f}% by {whose}" for whose, table in tables.items())
        print(f"{test}: of {len(tested):,} lines {shares} counts restored exactly")


def main() -> None:
    """Run; an error is one line."""
    with one_line_errors("count_spaces", ValueError, OSError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
