"""Turn pairs in .tsv.xz files into raw text files, and train a SentencePiece model on the target side.

Every row is ``source <tab> target``; further columns are ignored. It writes PART.SRC and PART.TGT for every part, and
TGT.model, after all of them are made.
"""

import argparse
import lzma
from collections.abc import Sequence
from pathlib import Path

from bnb_fairseq.cli.errors import one_line_errors
from bnb_fairseq.vocabulary import train_model

PARTS = ("train", "valid", "test")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="folder with train.tsv.xz, valid.tsv.xz and test.tsv.xz"
    )
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder to write to")
    parser.add_argument("--languages", nargs=2, default=["en", "de"], help="source and target (default: en de)")
    parser.add_argument("--symbols", type=int, default=4000, help="size of the SentencePiece model (default: 4000)")
    parser.add_argument("--prefix", default="", help="prefix of the file names in DATA (default: none)")
    return parser.parse_args()


def check(arguments: argparse.Namespace) -> list[Path]:
    """The .tsv.xz file of every part.

    Raises ValueError, listing each bad argument with its limit and value.
    """
    problems = []
    files = [arguments.data / f"{arguments.prefix}{part}.tsv.xz" for part in PARTS]
    if missing := [file.name for file in files if not file.is_file()]:
        names = ", ".join(file.name for file in files)
        problems.append(f"DATA must be a folder with {names}, but {arguments.data} lacks {', '.join(missing)}")
    if arguments.output.exists() and not arguments.output.is_dir():
        problems.append(f"OUTPUT must be a folder, but is {arguments.output}")
    if arguments.symbols < 1:
        problems.append(f"--symbols must be at least 1, but is {arguments.symbols}")
    if problems:
        raise ValueError("; ".join(problems))
    return files


def read_part(rows: Path) -> list[list[str]]:
    """Pairs of source and target in a .tsv.xz file.

    Raises ValueError if the file is no compressed text, or a row has fewer than two columns.
    """
    try:
        with lzma.open(rows, "rt", encoding="utf-8") as lines:
            pairs = [line.rstrip("\n").split("\t")[:2] for line in lines]
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{rows} must be text in UTF-8, compressed by xz, but is not: {error}") from error
    short = next((i for i, pair in enumerate(pairs, start=1) if len(pair) < 2), None)
    if short is not None:
        raise ValueError(f"{rows}, row {short}: a row must have at least two columns separated by a tab")
    return pairs


def write_part(pairs: Sequence[Sequence[str]], output: Path, languages: Sequence[str]) -> None:
    """Write one part as two text files, ``output`` with the language at the end."""
    for side, language in enumerate(languages):
        text = "".join(f"{pair[side]}\n" for pair in pairs)
        output.with_name(f"{output.name}.{language}").write_text(text, encoding="utf-8")


def run(arguments: argparse.Namespace) -> None:
    """Read all parts, train the SentencePiece model on the training part's target side, and write."""
    files = check(arguments)
    parts = [read_part(file) for file in files]
    texts = [pair[1] for pair in parts[0]]
    if not any(text.strip() for text in texts):
        raise ValueError(f"{files[0]} must have text on its target side, but has none")
    model = train_model(texts, arguments.symbols, "the target side of the training part")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for part, pairs, file in zip(PARTS, parts, files, strict=True):
        write_part(pairs, arguments.output / part, arguments.languages)
        print(f"{part}: {len(pairs):,} pairs from {file}")
    path = arguments.output / f"{arguments.languages[1]}.model"
    path.write_bytes(model)
    print(f"SentencePiece model with {arguments.symbols:,} symbols: {path}")


def main() -> None:
    """Run; an error is one line."""
    with one_line_errors("prepare_text", ValueError, OSError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
