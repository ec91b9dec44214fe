"""Convert checkpoints between the published BERT-NAR-BERT code, fairseq, HuggingFace's transformers and model folders.

A seed checkpoint is a folder as the published code saves it: config.json with pytorch_model.bin or model.safetensors.
A model folder is what bnb-export writes.
What is written is complete or not there.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ..conversion.folder import folder_to_fairseq
from ..conversion.hf import fairseq_to_hf
from ..conversion.seed import fairseq_to_seed, seed_to_fairseq
from ..conversion.verification import table, verify
from .errors import one_line_errors

PROG = "bnb-convert"
DATA_HELP = (
    "folder of the dictionaries (default: that of the checkpoint if they lie there, else the data-bin of its training)"
)


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
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    add = command("seed-to-fairseq", "write a fairseq checkpoint, and dictionaries beside it").add_argument
    add("directory", type=Path, metavar="DIR", help="seed checkpoint")
    add("output", type=Path, metavar="OUT.pt", help="checkpoint to write")
    for side in ("source", "target"):
        add(
            f"--{side}-vocab",
            metavar="VOCAB",
            help="HuggingFace name, BERT directory or vocab.txt (default: the tokenizer in DIR; else symbol i is the "
            "word w<i>)",
        )
    add(
        "--canvas-length",
        type=int,
        metavar="N",
        help="positions that every source is padded to (default: 128, the original's for translation, or all positions "
        "if they are fewer)",
    )
    add("--source-lang", default="src", metavar="SRC", help="source language (default: src)")
    add("--target-lang", default="tgt", metavar="TGT", help="target language (default: tgt)")

    add = command("fairseq-to-seed", "write a seed checkpoint").add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint of bnb_transformer with the original's canvas")
    add("directory", type=Path, metavar="DIR", help="folder to make")
    add("--data", type=Path, metavar="FOLDER", help=DATA_HELP)

    add = command("fairseq-to-hf", "write DIR/encoder and DIR/decoder as plain BERT directories").add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint of bnb_transformer or bert2bert")
    add("directory", type=Path, metavar="DIR", help="folder to make")
    add("--data", type=Path, metavar="FOLDER", help=DATA_HELP)

    add = command("folder-to-fairseq", "write a fairseq checkpoint, and dictionaries beside it").add_argument
    add("directory", type=Path, metavar="FOLDER", help="model folder")
    add("output", type=Path, metavar="OUT.pt", help="checkpoint to write")

    add = command("verify", "compare this package's model with numbers that the original printed").add_argument
    add("directory", type=Path, metavar="DIR", help="seed checkpoint")
    add("expected", type=Path, metavar="EXPECTED.safetensors", help="the original's inputs and outputs")
    add("--tolerance", type=float, default=1e-4, help="largest difference of states and logits (default: 1e-4)")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> int:
    """Run one command.

    Args:
        arguments: the command line.

    Returns:
        The exit status: 1 if ``verify`` found a difference.

    Raises:
        ValueError: if anything does not fit.
    """
    status = 0
    if arguments.command == "seed-to-fairseq":
        vocabularies = (arguments.source_vocab, arguments.target_vocab)
        languages = (arguments.source_lang, arguments.target_lang)
        lines = seed_to_fairseq(arguments.directory, arguments.output, vocabularies, arguments.canvas_length, languages)
    elif arguments.command == "fairseq-to-seed":
        lines = fairseq_to_seed(arguments.checkpoint, arguments.directory, arguments.data)
    elif arguments.command == "fairseq-to-hf":
        lines = fairseq_to_hf(arguments.checkpoint, arguments.directory, arguments.data)
    elif arguments.command == "folder-to-fairseq":
        lines = folder_to_fairseq(arguments.directory, arguments.output)
    else:
        rows = verify(arguments.directory, arguments.expected, arguments.tolerance)
        lines, status = table(rows), int(not all(row.ok for row in rows))
    print("\n".join(lines))
    return status


def main() -> None:
    """Run a command; an error is one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    with one_line_errors(PROG, ValueError, OSError):
        status = run(parse_arguments())
    raise SystemExit(status)


if __name__ == "__main__":
    main()
