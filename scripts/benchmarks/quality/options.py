"""Options that the benchmarks of quality share."""

from argparse import ArgumentParser
from pathlib import Path


def add_model(parser: ArgumentParser) -> None:
    """Add the data, the checkpoint and the raw text."""
    add = parser.add_argument
    add("data", type=Path, metavar="DATA_BIN", help="folder made by fairseq-preprocess")
    add("--path", type=Path, required=True, metavar="CHECKPOINT", help="checkpoint of bnb_transformer under CTC")
    add("--text", type=Path, required=True, metavar="FOLDER", help="raw text that it was made from, PART.LANG")


def add_search(parser: ArgumentParser) -> None:
    """Add the options of the CTC search."""
    add = parser.add_argument
    add("--ctc-beam", type=int, default=10, metavar="N", help="texts that the search keeps (default: 10)")
    add("--ctc-beam-symbols", type=int, default=10, metavar="N", help="symbols read at each position (default: 10)")
    add("--ctc-lm-path", metavar="FILE", help="n-gram model of the search (default: none)")
    add("--ctc-lm-weight", type=float, default=0.0, metavar="W", help="its weight (default: 0)")
    add("--ctc-token-bonus", type=float, default=0.0, metavar="B", help="score that each token adds (default: 0)")
    add("--batch-size", type=int, default=32, metavar="N", help="sentences in a batch (default: 32)")
