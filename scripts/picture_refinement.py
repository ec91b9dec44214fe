r"""Show how a model fills its canvas, pass by pass, and where it looks in the source.

    python scripts/picture_refinement.py data-bin --path checkpoint_best.pt --iter-decode-max-iter 4 \
        --sentence "A raw sentence." --output picture.png --html picture.html

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
from typing import Any

import torch
from fairseq import utils
from refinement.drawing import draw
from refinement.page import page
from refinement.record import Refinement, record

from bnb_fairseq.cli.errors import one_line_errors
from bnb_fairseq.data.pair_dataset import SPECIAL_SYMBOLS
from bnb_fairseq.data.preflight import check_lines
from bnb_fairseq.evaluation.loading import load_non_autoregressive
from bnb_fairseq.generation.generator import NarGenerator
from bnb_fairseq.generation.options import GeneratorOptions

FORMATS = (".png", ".pdf", ".svg")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", type=Path, metavar="DATA_BIN", help="folder made by fairseq-preprocess")
    add("--path", type=Path, required=True, metavar="CHECKPOINT", help="checkpoint of bnb_transformer")
    add("--sentence", action="append", metavar="TEXT", help="raw source text; may be repeated (default: stdin)")
    add("--output", type=Path, metavar="FILE", help=f"picture to write ({', '.join(FORMATS)})")
    add("--html", type=Path, metavar="FILE", help="page to write, without the need of any other file")
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
        help="decoder layer whose cross-attention is drawn, 0 is the lowest (default: the last)",
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
    outputs = {"--output": arguments.output, "--html": arguments.html}
    named = {option: path for option, path in outputs.items() if path is not None}
    if not named:
        faults.append("--output or --html must be given, else there is nothing to write")
    for option, path in named.items():
        if not path.parent.is_dir():
            faults.append(f"{option} must lie in a folder that exists, but {path.parent} is none")
        elif path.is_dir():
            faults.append(f"{option} must be a file, but {path} is a folder")
    if arguments.output is not None and arguments.output.suffix.lower() not in FORMATS:
        faults.append(f"--output must end in {', '.join(FORMATS)}, but is {arguments.output}")
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


def make_samples(task: Any, sentences: Sequence[str], longest: int) -> list[dict[str, Any]]:
    """Encode sentences as fairseq-interactive does, each as a batch of its own.

    Args:
        task: has the dictionaries.
        sentences: raw text.
        longest: most pieces that the model can read, special symbols counted.

    Returns:
        The batches.

    Raises:
        ValueError: if a sentence is too long, or nothing is left of it.
    """
    dataset = task.build_dataset_for_inference(*task.get_interactive_tokens_and_lengths(sentences, lambda text: text))
    samples = [dataset.collater([dataset[i]]) for i in range(len(sentences))]
    for sentence, sample in zip(sentences, samples, strict=True):
        pieces = int(sample["net_input"]["src_lengths"][0])
        if not SPECIAL_SYMBOLS < pieces <= longest:
            raise ValueError(
                f"--sentence must have {SPECIAL_SYMBOLS + 1} to {longest} pieces, special symbols counted, but "
                f"{sentence[:60]!r} has {pieces}"
            )
    return samples


def record_all(arguments: argparse.Namespace) -> list[Refinement]:
    """Translate the sentences and keep what happened.

    Args:
        arguments: the command line.

    Returns:
        A record of each.

    Raises:
        ValueError: if anything does not fit.
    """
    if faults := find_faults(arguments):
        raise ValueError("; ".join(faults))
    sentences = read_sentences(arguments.sentence)
    model, task = load_non_autoregressive(arguments.path, arguments.data)
    options = GeneratorOptions(
        arguments.iter_decode_max_iter, arguments.iter_decode_force_max_iter, retain_history=True
    )
    generator = NarGenerator([model], task.target_dictionary, options)
    layers = len(model.decoder.layers)
    layer = layers - 1 if arguments.alignment_layer is None else arguments.alignment_layer
    if not 0 <= layer < layers:
        raise ValueError(f"--alignment-layer must lie between 0 and {layers - 1}, but is {layer}")
    samples = make_samples(task, sentences, model.max_positions()[0])
    if torch.cuda.is_available() and not arguments.cpu:
        model.cuda()
        samples = [utils.move_to_cuda(sample) for sample in samples]
    dictionaries = (task.source_dictionary, task.target_dictionary)
    return [
        record(generator, dictionaries, sample, sentence, layer)
        for sentence, sample in zip(sentences, samples, strict=True)
    ]


def run(arguments: argparse.Namespace) -> None:
    """Translate, write what is wanted, and print the texts.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if anything does not fit.
    """
    refinements = record_all(arguments)
    if arguments.output is not None:
        draw(refinements, arguments.output)
    if arguments.html is not None:
        arguments.html.write_text(page(refinements), encoding="utf-8")
    for refinement in refinements:
        texts = [f"pass {i}\t{made.text}" for i, made in enumerate(refinement.passes)]
        print("\n".join([refinement.sentence, *texts, refinement.summary, ""]))


def main() -> None:
    """Run; an error is one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    with one_line_errors("picture_refinement", ValueError, OSError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
