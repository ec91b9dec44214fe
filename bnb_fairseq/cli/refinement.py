r"""Show how a model fills its canvas, pass by pass.

    bnb-refinement data-bin --path checkpoint_best.pt --iter-decode-max-iter 4 \
        --sentence "A raw sentence." --html page.html

Without --sentence, standard input has one sentence a line. The page, that of bnb-serve, has the confidence and the
source words of each word, and the canvas after each pass. A number is the probability of a symbol when it was last
predicted; a frame marks a position that the pass hid and predicted again.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command import (
    Command,
    add_cpu,
    add_data_bin,
    add_path,
    find_data_bin_faults,
    find_output_faults,
    find_small,
)

if TYPE_CHECKING:
    from ..translator import Translator
    from ..written import Written


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


def show(translator: "Translator", sentences: Sequence[str], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Translate sentences, and print the text after each pass.

    Args:
        translator: of a non-autoregressive model.
        sentences: raw source text.
        options: of the search.

    Returns:
        What ``saved_page`` shows.

    Raises:
        ValueError: if an option does not fit the model, or a sentence cannot be translated.
    """
    from ..serving.answers import translated
    from ..serving.batching import Answer
    from ..serving.models import Found

    translations = translator.translate(sentences, alignment=True, **options)
    for number, translation in enumerate(translations, start=1):
        if translation.error is not None:
            raise ValueError(f"sentence {number}: {translation.error}")
    rows = []
    for sentence, translation, written in zip(
        sentences, translations, translator.canvases(sentences, **options), strict=True
    ):
        summary = "; ".join(_summary(one, options["iter_decode_max_iter"] + 1) for one in written)
        texts = [f"pass {i}\t{made.text}" for one in written for i, made in enumerate(one.passes)]
        print("\n".join([sentence, *texts, summary, ""]))
        row = translated(Answer(Found(translation, written), 0.0), 0.0)
        rows.append({"source": sentence, "row": row, "summary": f"{summary}."})
    return rows


def _summary(written: "Written", allowed: int) -> str:
    """Return the number of passes, and the last that changed the text."""
    made = f"{len(written.passes)} of at most {allowed} passes made"
    settled = written.settled
    return f"{made}; {f'pass {settled} was the last to change the text' if settled else 'pass 0 wrote the text'}"


def run(arguments: Namespace) -> None:
    """Translate, write the page, and print the texts."""
    import torch

    from ..checkpoints.writing import staging
    from ..serving.page import saved_page
    from ..translator import Translator

    sentences = read_sentences(arguments.sentence)
    device = "cuda" if torch.cuda.is_available() and not arguments.cpu else "cpu"
    translator = Translator.load(arguments.path, device=device, data=arguments.data_bin)
    if not translator.has_canvas:
        raise ValueError(f"--path must be a checkpoint of a bnb_transformer, but {arguments.path} writes word by word")
    options = {
        "search": "none",
        "iter_decode_max_iter": arguments.iter_decode_max_iter,
        "iter_decode_force_max_iter": arguments.iter_decode_force_max_iter,
    }
    rows = show(translator, sentences, options)
    with staging(arguments.html.parent) as folder:
        (folder / arguments.html.name).write_text(saved_page("The canvas, pass by pass", rows), encoding="utf-8")


COMMAND = Command("bnb-refinement", __doc__, add_options, run, find_faults)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
