"""Convert checkpoints between the published BERT-NAR-BERT code, fairseq, HuggingFace's transformers and model folders.

A seed checkpoint is a folder as the published code saves it: config.json with pytorch_model.bin or model.safetensors.
A model folder is what bnb-export writes. Files are written completely or not at all.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from .command import Command

DATA_HELP = "folder of the dictionaries (default: the checkpoint's own folder, or the data-bin folder of its training)"


def add_options(parser: ArgumentParser) -> None:
    """Add the conversions."""
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> ArgumentParser:
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


def run(arguments: Namespace) -> int:
    """Run one conversion; the exit status is 1 if ``verify`` found a difference."""
    from ..conversion.folder import folder_to_fairseq
    from ..conversion.hf import fairseq_to_hf
    from ..conversion.seed import fairseq_to_seed, seed_to_fairseq
    from ..conversion.verification import table, verify

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


COMMAND = Command("bnb-convert", __doc__, add_options, run)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
