r"""Show how a model fills its canvas, pass by pass, and which source pieces it attends to.

    bnb-refinement data-bin --path checkpoint_best.pt --iter-decode-max-iter 4 \
        --sentence "A raw sentence." --html page.html

Without --sentence, standard input has one sentence a line. The page has a row for the canvas after each pass, with the
text below. The colour is the probability of a piece when it was last predicted; a frame marks a piece that the pass hid
and predicted again. The heat map is the decoder's cross-attention in the last pass, mean over heads; the decoder read
the canvas as the pass before left it.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from .command import (
    Command,
    add_cpu,
    add_data_bin,
    add_path,
    find_data_bin_faults,
    find_output_faults,
    find_small,
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add_data_bin(parser)
    add_path(parser, "bnb_transformer")
    add("--sentence", action="append", metavar="TEXT", help="raw source text; may be repeated (default: stdin)")
    add("--html", type=Path, required=True, metavar="FILE", help="page to write; it needs no other file")
    text = "refinement passes after pass 0 (default: 0)"
    add("--iter-decode-max-iter", type=int, default=0, metavar="N", help=text)
    text = "make all passes, even once the text stays the same"
    add("--iter-decode-force-max-iter", action="store_true", help=text)
    text = "decoder layer whose cross-attention is shown, 0 is the lowest (default: the last)"
    add("--alignment-layer", type=int, metavar="N", help=text)
    add_cpu(parser)


def find_faults(arguments: Namespace) -> list[str]:
    """Check the options before anything is loaded."""
    return [
        *find_data_bin_faults(arguments.data_bin),
        *find_small(arguments, {"iter_decode_max_iter": 0}),
        *find_output_faults("--html", arguments.html),
    ]


def read_sentences(given: Sequence[str] | None) -> list[str]:
    """Return the sentences of ``--sentence``, or of standard input where that is None.

    Args:
        given: values of ``--sentence``.

    Returns:
        One sentence or more, none of them empty.

    Raises:
        ValueError: if one is empty.
    """
    from ..data.preflight import check_lines

    option = "standard input" if given is None else "--sentence"
    sentences = sys.stdin.read().removesuffix("\n").split("\n") if given is None else list(given)
    check_lines(sentences, option)
    for number, sentence in enumerate(sentences, start=1):
        if not sentence.strip():
            raise ValueError(f"{option}: a sentence must not be empty, but number {number} is {sentence!r}")
    return sentences


def run(arguments: Namespace) -> None:
    """Translate, write the page, and print the texts."""
    from ..checkpoints.writing import staging
    from ..evaluation.loading import load_non_autoregressive
    from ..evaluation.refinement_page import page
    from ..evaluation.refinement_record import record_all
    from ..generation.options import GeneratorOptions

    sentences = read_sentences(arguments.sentence)
    model, task = load_non_autoregressive(arguments.path, arguments.data_bin)
    passes, force = arguments.iter_decode_max_iter, arguments.iter_decode_force_max_iter
    options = GeneratorOptions(passes, force, retain_history=True)
    refinements = record_all(model, task, sentences, options, arguments.alignment_layer, arguments.cpu)
    with staging(arguments.html.parent) as folder:
        (folder / arguments.html.name).write_text(page(refinements), encoding="utf-8")
    for refinement in refinements:
        texts = [f"pass {i}\t{made.text}" for i, made in enumerate(refinement.passes)]
        print("\n".join([refinement.sentence, *texts, refinement.summary, ""]))


COMMAND = Command("bnb-refinement", __doc__, add_options, run, find_faults)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
