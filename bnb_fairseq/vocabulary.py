"""Make a vocabulary for --srcdict and --tgtdict from raw text: a SentencePiece model, or a part of a BERT's."""

import argparse
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from tqdm import tqdm

from .checkpoints.writing import new_folder
from .data.bert_tokenizer import load_wordpiece

NORMALIZATIONS = ("nmt_nfkc", "nfkc", "identity")
# of a model, with their defaults
MODEL_OPTIONS: dict[str, Any] = {"symbols": 8000, "character_coverage": 1.0, "normalization": NORMALIZATIONS[0]}
SAMPLE = 2_000_000  # lines drawn from longer texts, which bounds the memory
LONGEST = 4192  # bytes, SentencePiece's default: it drops longer lines silently
LIMITS = {  # what SentencePiece says of a size that does not suit the text -> the constraint
    r"required_chars\. \d+ vs (\d+)": "at least",
    r"Please set it to a value <= (\d+)": "at most",
}


def train_model(
    texts: Sequence[str], symbols: int, name: str, coverage: float = 1.0, normalization: str = "nmt_nfkc"
) -> bytes:
    """Train a SentencePiece model, a unigram language model.

    No piece mixes letters and brackets, so none spells a symbol such as [MASK], which a dictionary would refuse.

    Args:
        texts: lines, at least one with a word; more than ``SAMPLE`` are sampled.
        symbols: size of the model.
        name: of the texts, for an error.
        coverage: share of the text's characters that get a symbol; the rarest of the rest become unknown.
        normalization: SentencePiece's name of a rule.

    Returns:
        The content of the model's file.

    Raises:
        ValueError: if the texts do not suit the size.
    """
    model = io.BytesIO()
    drawn: dict[str, Any] = {"input_sentence_size": SAMPLE, "shuffle_input_sentence": True}
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=symbols,
            character_coverage=coverage,
            normalization_rule_name=normalization,
            max_sentence_length=max(LONGEST, *(len(line.encode()) for line in texts)),
            num_threads=1,
            minloglevel=2,
            **(drawn if len(texts) > SAMPLE else {}),
        )
    except RuntimeError as error:
        for said, constraint in LIMITS.items():
            if limit := re.search(said, str(error)):
                raise ValueError(f"--symbols must be {constraint} {limit[1]} for {name}, but is {symbols}") from error
        raise
    return model.getvalue()


def read_lines(files: Sequence[Path]) -> list[str]:
    """Lines of text files in UTF-8.

    Raises ValueError, naming each file that is not UTF-8 text, or all of them if they hold no words.
    """
    lines, problems = [], []
    for file in files:
        try:
            lines += file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"TEXT must be text files in UTF-8, but {file} is not: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    if not any(line.strip() for line in lines):
        raise ValueError(f"TEXT must hold words, but {', '.join(map(str, files))} has none")
    return lines


def trim(bert: str, lines: Sequence[str], output: Path) -> str:
    """Write a BERT's tokenizer with only the symbols that a text uses.

    Args:
        bert: a name or folder, as ``--srcdict`` takes it.
        lines: of the text.
        output: the folder to make.

    Returns:
        A line for the user.

    Raises:
        ValueError: if there is no such BERT, or the folder exists.
    """
    whole = load_wordpiece(bert)
    part = whole.trimmed(tqdm(lines, desc="reading", unit=" lines", disable=None))
    with new_folder(output) as lent:
        part.export(lent)
    return f"{len(part.symbols):,} of {len(whole.symbols):,} symbols of {bert}: {output}"


def run(arguments: argparse.Namespace) -> None:
    """Read the text and write the vocabulary; a ValueError lists options with their limits and values."""
    output, bert = arguments.output, arguments.trim
    values = {name: getattr(arguments, name) for name in MODEL_OPTIONS}
    problems = [
        f"--{name.replace('_', '-')} must be left out with --trim, but is {value}"
        for name, value in values.items()
        if bert is not None and value is not None
    ]
    symbols, coverage, normalization = (
        default if values[name] is None else values[name] for name, default in MODEL_OPTIONS.items()
    )
    if bert is None and (output.suffix != ".model" or output.is_dir()):
        problems.append(f"--output must be a file that ends in .model, but is {output}")
    if symbols < 1:
        problems.append(f"--symbols must be at least 1, but is {symbols}")
    if not 0.9 < coverage <= 1:
        problems.append(f"--character-coverage must lie in (0.9, 1], but is {coverage}")
    if problems:
        raise ValueError("; ".join(problems))
    lines = read_lines(arguments.text)
    if bert is not None:
        print(trim(bert, lines, output))
        return
    model = train_model(lines, symbols, ", ".join(map(str, arguments.text)), coverage, normalization)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(model)
    print(f"SentencePiece model with {symbols:,} symbols: {output}")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bnb_fairseq.vocabulary", description=__doc__)
    parser.add_argument("text", type=Path, nargs="+", metavar="TEXT", help="raw text, such as data/train.de")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="file to write, such as data/de.model; with --trim a folder to make",
    )
    parser.add_argument(
        "--trim",
        metavar="BERT",
        help="keep of this BERT's symbols those that TEXT uses, and all single characters (default: train a model)",
    )
    parser.add_argument("--symbols", type=int, help=f"size of the model (default: {MODEL_OPTIONS['symbols']})")
    parser.add_argument(
        "--character-coverage",
        type=float,
        metavar="SHARE",
        help="share of the text's characters that get a symbol; the rest are unknown (default: 1; for Chinese and "
        "Japanese 0.9995)",
    )
    parser.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        help="nmt_nfkc (default) and nfkc: Unicode's compatible form, with three full stops for an ellipsis; "
        "identity: text unchanged",
    )
    return parser.parse_args()


def main() -> None:
    """Run; an error is one line."""
    try:
        run(parse_arguments())
    except (ValueError, OSError) as error:
        raise SystemExit(f"vocabulary: {error}") from error


if __name__ == "__main__":
    main()
