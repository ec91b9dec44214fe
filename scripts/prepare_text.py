"""Turn pairs in .tsv.xz files into raw text files, and train a SentencePiece model on the target side.

Every row is ``source <tab> target``, further columns are left out. Written are PART.SRC and PART.TGT for every part,
and TGT.model.
"""

import argparse
import lzma
from pathlib import Path

import sentencepiece


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train.tsv.xz, valid.tsv.xz and test.tsv.xz")
    parser.add_argument("output", type=Path, help="folder to write to")
    parser.add_argument("--languages", nargs=2, default=["en", "de"], help="source and target (default: en de)")
    parser.add_argument("--symbols", type=int, default=4000, help="size of the SentencePiece model (default: 4000)")
    parser.add_argument("--prefix", default="", help="what precedes the part in the file names (default: nothing)")
    return parser.parse_args()


def write_part(rows: Path, output: Path, languages: list[str]) -> int:
    """Write one part as two text files.

    Args:
        rows: the .tsv.xz file.
        output: path of the text files, without the language.
        languages: source and target.

    Returns:
        Number of pairs.

    Raises:
        ValueError: if a row has fewer than two columns.
    """
    with lzma.open(rows, "rt", encoding="utf-8") as lines:
        pairs = [line.rstrip("\n").split("\t")[:2] for line in lines]
    short = next((i for i, pair in enumerate(pairs, start=1) if len(pair) < 2), None)
    if short is not None:
        raise ValueError(f"{rows}, row {short}: a row must have at least two columns separated by a tab")
    for side, language in enumerate(languages):
        text = "".join(f"{pair[side]}\n" for pair in pairs)
        output.with_name(f"{output.name}.{language}").write_text(text, encoding="utf-8")
    return len(pairs)


def main() -> None:
    """Write all parts, then train the SentencePiece model on the training part's target side."""
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for part in ("train", "valid", "test"):
        rows = arguments.data / f"{arguments.prefix}{part}.tsv.xz"
        pairs = write_part(rows, arguments.output / part, arguments.languages)
        print(f"{part}: {pairs:,} pairs from {rows}")
    target = arguments.languages[1]
    sentencepiece.SentencePieceTrainer.Train(
        input=str(arguments.output / f"train.{target}"),
        model_prefix=str(arguments.output / target),
        vocab_size=arguments.symbols,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    print(f"SentencePiece model with {arguments.symbols:,} symbols: {arguments.output / target}.model")


if __name__ == "__main__":
    main()
