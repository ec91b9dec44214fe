"""Translate text: raw lines in, raw lines out, one output line for each input line.

    bnb-translate FOLDER < input.txt > output.txt

FOLDER is an exported model. Only a newline ends a line, and a carriage return before it belongs to it. Files are
compressed and decompressed by their names: .gz, .bz2, .xz, .zst.
"""

import argparse
import sys
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

from ..bulk import forms
from ..bulk.run import COPY, EMPTY, ERROR, WINDOW, Settings, translate_lines
from ..bulk.streams import Input, Output, missing_package, open_input, open_output
from .command import Command

PROG = "bnb-translate"
SEARCH = ("ctc_beam", "ctc_lm_weight", "ctc_token_bonus", "ctc_blank_penalty", "iter_decode_max_iter")


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a number from a lowest one on, for argparse."""

    def read(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, but is {number}")
        return number

    read.__name__ = "int"  # argparse names it where a text is no number
    return read


def finite(text: str) -> float:
    """Read a number, for argparse."""
    number = float(text)
    if not isfinite(number):
        raise argparse.ArgumentTypeError(f"must be finite, but is {number}")
    return number


finite.__name__ = "float"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add FOLDER and the options."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the exported model")
    add = parser.add_argument_group("text").add_argument
    add("--input", type=Path, metavar="FILE", help="file to read (default: standard input)")
    add("--output", type=Path, metavar="FILE", help="file to write, complete or not at all (default: standard output)")
    add("--nbest", type=at_least(1), default=1, metavar="N", help="N > 1: write 'line ||| text ||| score' (default: 1)")
    add(
        "--jsonl",
        action="store_true",
        help="write a JSON object for each line: text, score, tokens, confidence, alignment",
    )
    add(
        "--too-long",
        choices=[ERROR, COPY, EMPTY],
        default=ERROR,
        help="if the model cannot read a line: error writes an empty line and ends with status 1, copy writes the "
        f"source, empty writes an empty line (default: {ERROR})",
    )
    add("--glossary", type=Path, metavar="FILE", help="lines of a source term, a tab, and its translation")
    add = parser.add_argument_group("search").add_argument
    add("--search", choices=["none", "auto"], default="auto", help="none: one pass; auto: the folder's (default: auto)")
    own = "(default: the folder's)"
    add("--ctc-beam", type=at_least(0), metavar="N", help=f"texts that the beam search keeps; 0: no beam search {own}")
    add("--ctc-lm-weight", type=finite, metavar="W", help=f"weight of the language model in the beam search {own}")
    add("--ctc-token-bonus", type=finite, metavar="B", help=f"what each token adds to the score of a text {own}")
    add("--ctc-blank-penalty", type=finite, metavar="P", help=f"what is subtracted from the blank's logit {own}")
    add("--iter-decode-max-iter", type=at_least(0), metavar="N", help=f"refinement passes after the first {own}")
    add = parser.add_argument_group("running").add_argument
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where the model runs (default: cpu)")
    add("--engine", choices=["auto", "torch", "onnx"], default="auto", help="what runs it (default: auto)")
    add("--no-shortlist", action="store_true", help="score all target symbols, without the folder's shortlist")
    add("--threads", type=at_least(1), metavar="N", help="threads on the CPU (default: the engine's choice)")
    add(
        "--batch-tokens", type=at_least(1), metavar="N", help="tokens of a batch, padding included (default: automatic)"
    )
    windows = parser.add_mutually_exclusive_group().add_argument
    windows(
        "--window",
        type=at_least(1),
        default=WINDOW,
        metavar="N",
        help="lines that are read ahead and sorted by length; fewer if no more are there yet (default: %(default)s)",
    )
    windows("--flush", action="store_true", help="translate and write line by line")
    add("--progress", action=argparse.BooleanOptionalAction, help="show lines per second (default: at a terminal)")


def find_faults(arguments: argparse.Namespace) -> list[str]:
    """Check options and files before the model is loaded.

    Args:
        arguments: the command line.

    Returns:
        What is wrong with each option that does not fit.
    """
    faults = []
    if not arguments.folder.is_dir():
        faults.append(f"FOLDER must be a folder of an exported model, but there is none at {arguments.folder}")
    given = [f"--{name.replace('_', '-')}" for name in SEARCH if getattr(arguments, name) is not None]
    if arguments.search == "none" and given:
        faults.append(f"--search none must stand without {', '.join(given)}")
    for option, path, stream in (
        ("--input", arguments.input, sys.stdin),
        ("--output", arguments.output, sys.stdout),
    ):
        if path is None and stream is None:
            faults.append(f"{option} must be given where the standard {option[2:]} is closed")
        elif path is not None and (package := missing_package(path)):
            faults.append(f"{option} {path} needs the package {package} (pip install {package}), but it is missing")
    source, output = arguments.input, arguments.output
    if source is not None and (source.is_dir() or not source.exists()):
        faults.append(f"--input must be a file, but {'a folder' if source.is_dir() else 'nothing'} is at {source}")
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        faults.append(f"--output must be a file in a folder that exists, but is {output}")
    return faults


def make_settings(arguments: argparse.Namespace) -> Settings:
    """Make settings of the command line.

    Args:
        arguments: the command line.

    Returns:
        The settings; options that are not given are left out, so that the folder's hold.

    Raises:
        OSError: if the glossary cannot be read.
        ValueError: if it does not fit.
    """
    names = ("batch_tokens", *SEARCH)
    options: dict[str, Any] = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.search == "none":
        options["search"] = "none"
    if arguments.jsonl:
        options["alignment"] = True
    if arguments.glossary is not None:
        from ..generation.glossary import read_glossary

        options["glossary"] = read_glossary(arguments.glossary)
    form = forms.JSONL if arguments.jsonl else forms.NBEST if arguments.nbest > 1 else forms.PLAIN
    window = 1 if arguments.flush else arguments.window
    return Settings(form, arguments.nbest, arguments.too_long, window, options)


def wants_progress(arguments: argparse.Namespace, source: Input, output: Output) -> bool:
    """Return whether to show progress: by default at a terminal on which nothing else is typed or written."""
    if arguments.progress is not None:
        return bool(arguments.progress)
    return sys.stderr.isatty() and not source.is_terminal() and not output.is_terminal()


def run(arguments: argparse.Namespace) -> int:
    """Translate.

    Args:
        arguments: the command line.

    Returns:
        The exit status: 1 if lines could not be translated and that is an error.

    Raises:
        OSError: if something cannot be written.
        ValueError: if anything does not fit.
    """
    settings = make_settings(arguments)

    from tqdm import tqdm

    from ..translator import Translator

    def say(line: str) -> None:
        tqdm.write(f"{PROG}: {line}", file=sys.stderr)  # above the bar, if there is one

    with open_input(arguments.input) as source, open_output(arguments.output) as output:
        running = arguments.engine, arguments.device, arguments.threads
        translator = Translator.load(arguments.folder, *running, shortlist=not arguments.no_shortlist)
        shown = wants_progress(arguments, source, output)
        with tqdm(total=source.count_lines() if shown else None, unit=" lines", disable=not shown) as bar:
            counts = translate_lines(translator, source, output, settings, say, bar.update)
    for remark in counts.remarks(settings.too_long):
        say(remark)
    return int(settings.too_long == ERROR and counts.untranslated > 0)


COMMAND = Command(PROG, __doc__, add_options, run, find_faults, needs_fairseq=False)


def main() -> int:
    """Translate; an error is one line."""
    return COMMAND.main()


if __name__ == "__main__":
    raise SystemExit(main())
