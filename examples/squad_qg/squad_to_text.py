"""Turn SQuAD's JSON into text for question generation: answers with their contexts, and their questions.

    python examples/squad_qg/squad_to_text.py train-v1.1.json data/train
    python examples/squad_qg/squad_to_text.py train-v1.1.json data/test --titles doclist-test.txt

It writes OUTPUT_PREFIX.answer, each line an answer, a tab and its paragraph, and OUTPUT_PREFIX.question, each line a
question. White space within a text (tabs and line breaks, too) becomes single spaces. The first of several answers to a
question counts; unanswerable questions (SQuAD 2.0) are left out.

The files have SQuAD's layout, 1.1 or 2.0, or are bare lists of articles. Everything in them is checked, and every
answer must be at its place in the context. Both texts are written completely or not at all.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from squad.reading import Item, SquadFile, read_titles

from bnb_fairseq.checkpoints.writing import staging
from bnb_fairseq.cli.errors import one_line_errors

ENDINGS = ("answer", "question")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json", help="one or more files, in this order")
    parser.add_argument("output", type=Path, metavar="OUTPUT_PREFIX", help="beginning of the names of the texts")
    parser.add_argument(
        "--titles",
        type=Path,
        metavar="FILE",
        help="list of the titles of the articles to read, one a line (default: all)",
    )
    return parser.parse_args(argv)


def read_all(arguments: argparse.Namespace) -> tuple[list[Item], Counter[str]]:
    """Questions of all files, and the sums of their counts.

    Raises ValueError if a file has a fault, a title is in none, or there is no question.
    """
    wanted = None if arguments.titles is None else read_titles(arguments.titles)
    items, counts, titles = [], Counter[str](), set[str]()
    for path in arguments.files:
        found = SquadFile(path).read(wanted)
        items += found.items
        counts += found.counts
        titles |= found.titles
    if missing := [title for title in wanted or {} if title not in titles]:
        first = missing[0]
        raise ValueError(
            f"--titles: {arguments.titles}, line {(wanted or {})[first]}: no file has an article {first!r}; "
            f"{len(missing):,} of {len(wanted or {}):,} titles are missing"
        )
    if not items:
        files = ", ".join(map(str, arguments.files))
        raise ValueError(f"FILE.json must hold a question with an answer, but {files} holds none")
    return items, counts


def write(items: Sequence[Item], output: Path) -> None:
    """Write both texts; ``output`` is the beginning of their names."""
    columns = ([f"{item.answer}\t{item.context}" for item in items], [item.question for item in items])
    with staging(output.parent) as folder:
        for ending, lines in zip(ENDINGS, columns, strict=True):
            text = "".join(f"{line}\n" for line in lines)
            (folder / f"{output.name}.{ending}").write_text(text, encoding="utf-8", newline="\n")


def describe(items: Sequence[Item], counts: Counter[str], output: Path) -> str:
    """A line about the questions written and skipped."""
    names = " and ".join(f"{output}.{ending}" for ending in ENDINGS)
    return (
        f"{names}: {len(items):,} of {counts['questions']:,} questions, on {counts['paragraphs']:,} paragraphs of "
        f"{counts['articles']:,} articles; left out: {counts['unanswerable']:,} unanswerable, {counts['empty']:,} "
        f"without text; of {counts['several']:,} with several answers the first was taken"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Convert; an error is one line."""
    arguments = parse_arguments(argv)
    with one_line_errors("squad_to_text", ValueError, OSError):
        items, counts = read_all(arguments)
        write(items, arguments.output)
    print(describe(items, counts, arguments.output))


if __name__ == "__main__":
    main()
