r"""Show how a model fills its canvas, pass by pass, and where it looks in the source.

    bnb-refinement data-bin --path checkpoint_best.pt --iter-decode-max-iter 4 \
        --sentence "A raw sentence." --html page.html

Sentences come from --sentence, or one a line from standard input. A row of the canvas is what stood there after a pass:
the colour is the probability of a piece when it was last predicted, a frame marks what the pass hid and predicted
again, and below stands the text. The heat map is the decoder's cross-attention in the last pass that was made, which
reads the canvas as the pass before left it, mean over heads.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ..data.preflight import check_lines
from ..evaluation.loading import load_non_autoregressive
from ..evaluation.refinement_page import page
from ..evaluation.refinement_record import record_all
from ..generation.options import GeneratorOptions
from .errors import one_line_errors

NAME = "bnb-refinement"


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(
        prog=NAME, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA_BIN", help="folder made by fairseq-preprocess")
    add("--path", type=Path, required=True, metavar="CHECKPOINT", help="checkpoint of bnb_transformer")
    add("--sentence", action="append", metavar="TEXT", help="raw source text; may be repeated (default: stdin)")
    add("--html", type=Path, required=True, metavar="FILE", help="page to write, without the need of any other file")
    add(
        "--iter-decode-max-iter",
        type=int,
        default=0,
        metavar="N",
        help="refinement passes after pass 0 (default: 0)",
    )
    add("--iter-decode-force-max-iter", action="store_true", help="make them all, even where the text stays the same")
    add(
        "--alignment-layer",
        type=int,
        metavar="N",
        help="decoder layer whose cross-attention is shown, 0 is the lowest (default: the last)",
    )
    add("--cpu", action="store_true", help="use the CPU even where there is a GPU")
    return parser.parse_args(argv)


def find_faults(arguments: argparse.Namespace) -> list[str]:
    """Check what can be checked before anything is loaded.

    Args:
        arguments: the command line.

    Returns:
        Everything that is wrong.
    """
    faults = []
    if not arguments.data.is_dir():
        faults.append(f"DATA_BIN must be a folder made by fairseq-preprocess, but is {arguments.data}")
    if arguments.iter_decode_max_iter < 0:
        faults.append(f"--iter-decode-max-iter must not be negative, but is {arguments.iter_decode_max_iter}")
    if not arguments.html.parent.is_dir():
        faults.append(f"--html must lie in a folder that exists, but {arguments.html.parent} is none")
    elif arguments.html.is_dir():
        faults.append(f"--html must be a file, but {arguments.html} is a folder")
    return faults


def read_sentences(given: Sequence[str] | None) -> list[str]:
    """Collect the sentences.

    Args:
        given: what ``--sentence`` gave; None: there was none, and standard input has them.

    Returns:
        At least one, none of them empty.

    Raises:
        ValueError: if one is empty.
    """
    option = "standard input" if given is None else "--sentence"
    sentences = sys.stdin.read().removesuffix("\n").split("\n") if given is None else list(given)
    check_lines(sentences, option)
    for number, sentence in enumerate(sentences, start=1):
        if not sentence.strip():
            raise ValueError(f"{option}: a sentence must not be empty, but number {number} is {sentence!r}")
    return sentences


def run(arguments: argparse.Namespace) -> None:
    """Translate, write the page, and print the texts.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if anything does not fit.
    """
    if faults := find_faults(arguments):
        raise ValueError("; ".join(faults))
    sentences = read_sentences(arguments.sentence)
    model, task = load_non_autoregressive(arguments.path, arguments.data)
    passes, force = arguments.iter_decode_max_iter, arguments.iter_decode_force_max_iter
    options = GeneratorOptions(passes, force, retain_history=True)
    refinements = record_all(model, task, sentences, options, arguments.alignment_layer, arguments.cpu)
    arguments.html.write_text(page(refinements), encoding="utf-8")
    for refinement in refinements:
        texts = [f"pass {i}\t{made.text}" for i, made in enumerate(refinement.passes)]
        print("\n".join([refinement.sentence, *texts, refinement.summary, ""]))


def main() -> None:
    """Run; an error is one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    with one_line_errors(NAME, ValueError, OSError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
