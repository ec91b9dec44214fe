"""Translate text: raw lines in, raw lines out, one output line for each input line.

    bnb-translate FOLDER < input.txt > output.txt

FOLDER is an exported model. Only a newline ends a line, and a carriage return before it belongs to it. Files are
compressed and decompressed by their names: .gz, .bz2, .xz, .zst.

    bnb-translate FOLDER --input 'in/*.txt' --output DIR --engine-cluster ray

Several files go to DIR, each under its own name. If the command is interrupted, run it again: it goes on where it was.
"""

import argparse
import glob
import sys
from collections import Counter
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

from ..bulk import forms
from ..bulk.files import SHARDS
from ..bulk.run import COPY, EMPTY, ERROR, WINDOW, Counts, Settings, translate_lines
from ..bulk.streams import Input, Output, missing_package, open_input, open_output
from .command import Command, add_cluster, add_threads, at_least, find_cluster_faults, machines_of

PROG = "bnb-translate"
SEARCH = ("ctc_beam", "ctc_lm_weight", "ctc_token_bonus", "ctc_blank_penalty", "iter_decode_max_iter")


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
    text = "file to read, or a quoted pattern of several, such as 'in/*.txt' (default: standard input)"
    add("--input", type=Path, metavar="FILE", help=text)
    text = "file to write, complete or not at all; for several files a folder (default: standard output)"
    add("--output", type=Path, metavar="FILE", help=text)
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
    add_threads(add)
    add(
        "--batch-tokens", type=at_least(1), metavar="N", help="tokens of a batch, padding included (default: automatic)"
    )
    windows = parser.add_mutually_exclusive_group().add_argument
    windows(
        "--window",
        type=at_least(1),
        default=WINDOW,
        metavar="N",
        help="lines that are read ahead and sorted by length; fewer if no more are there yet; of several files also "
        "the lines that are lost at most on a kill (default: %(default)s)",
    )
    windows("--flush", action="store_true", help="translate and write line by line")
    add_cluster(add, "translate files into the folder --output")
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
    faults += find_cluster_faults(arguments)
    return faults + (_find_files_faults(arguments) if _has_files(arguments) else _find_stream_faults(arguments))


def _has_files(arguments: argparse.Namespace) -> bool:
    """Return whether files are translated into a folder."""
    source = arguments.input
    pattern = source is not None and glob.has_magic(str(source)) and not source.exists()
    return pattern or arguments.engine_cluster is not None


def list_sources(pattern: Path, output: Path | None) -> list[Path]:
    """List the input files.

    Args:
        pattern: one file, or a pattern, in which ``**`` stands for folders of any depth.
        output: folder of translations; those of an earlier run, which ``**`` may find, are no input.

    Returns:
        Their paths, sorted.
    """
    found = [str(pattern)] if pattern.exists() else glob.glob(str(pattern), recursive=True)
    files = sorted(path for path in map(Path, found) if path.is_file())
    if output is None or not (output / SHARDS).is_dir():
        return files
    return [path for path in files if not path.parent.samefile(output)]


def _find_files_faults(arguments: argparse.Namespace) -> list[str]:
    faults, output = [], arguments.output
    sources = [] if arguments.input is None else list_sources(arguments.input, output)
    if not sources:
        faults.append(f"--input must name files for a folder of translations, but none is at {arguments.input}")
    names = Counter(source.name for source in sources)
    twice = [name for name, times in names.items() if times > 1 or name == SHARDS]
    if twice:
        faults.append(f"--input must name files with different names, but {twice[0]} is the name of {names[twice[0]]}")
    for package in sorted({package for source in sources if (package := missing_package(source))}):
        faults.append(f"--input {arguments.input} needs the package {package} (pip install {package})")
    if arguments.flush:
        faults.append("--flush must stand without several files or a cluster, whose --window is what is kept")
    if output is None or not output.parent.is_dir() or (output.exists() and not output.is_dir()):
        faults.append(f"--output must be a folder, or a new one in a folder that exists, but is {output}")
    elif output.is_dir() and any(source.parent.samefile(output) for source in sources):
        faults.append(f"--output must be another folder than that of the input, but is {output}")
    return faults


def _find_stream_faults(arguments: argparse.Namespace) -> list[str]:
    faults = []
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


def _loading(arguments: argparse.Namespace) -> dict[str, Any]:
    """Arguments of ``Translator.load`` beside the folder."""
    names = ("engine", "device", "threads")
    return {**{name: getattr(arguments, name) for name in names}, "shortlist": not arguments.no_shortlist}


def _run_stream(arguments: argparse.Namespace, settings: Settings, say: Callable[[str], None]) -> Counts:
    """Translate a file or standard input; see ``run``."""
    from tqdm import tqdm

    from ..translator import Translator

    with open_input(arguments.input) as source, open_output(arguments.output) as output:
        translator = Translator.load(arguments.folder, **_loading(arguments))
        shown = wants_progress(arguments, source, output)
        with tqdm(total=source.count_lines() if shown else None, unit=" lines", disable=not shown) as bar:
            return translate_lines(translator, source, output, settings, say, bar.update)


def _run_files(arguments: argparse.Namespace, settings: Settings) -> Counts:
    """Translate files into a folder; see ``run``."""
    from tqdm import tqdm

    from ..bulk.files import Files, translate_files, translate_files_on
    from ..bulk.kept import alone
    from ..folder.manifest import CONFIG, sha256

    config = arguments.folder / CONFIG
    if not config.is_file():
        raise ValueError(f"FOLDER must have a {CONFIG}, but {arguments.folder} has none; bnb-export makes such folders")
    sources, folder = list_sources(arguments.input, arguments.output), arguments.output.absolute()
    options = {"FOLDER": sha256(config), **_loading(arguments)}
    del options["threads"]  # which change no text
    shown = sys.stderr.isatty() if arguments.progress is None else arguments.progress
    with alone(folder / SHARDS), tqdm(unit=" lines", disable=not shown) as bar:
        files = Files.open(folder, settings, options)
        with machines_of(arguments) as machines:
            if machines is not None:
                loading = {**_loading(arguments), "model": arguments.folder.absolute()}
                loading["threads"] = arguments.threads or 1
                paths = [source.absolute() for source in sources]
                return translate_files_on(machines, files, paths, loading, bar.update)
        from ..translator import Translator

        translator = Translator.load(arguments.folder, **_loading(arguments))
        return translate_files(files, sources, translator, bar.update)


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
    settings, files = make_settings(arguments), _has_files(arguments)

    from tqdm import tqdm

    def say(line: str) -> None:
        tqdm.write(f"{PROG}: {line}", file=sys.stderr)  # above the bar, if there is one

    counts = _run_files(arguments, settings) if files else _run_stream(arguments, settings, say)
    for remark in counts.remarks(settings.too_long, each_said=not files):
        say(remark)
    return int(settings.too_long == ERROR and counts.untranslated > 0)


COMMAND = Command(PROG, __doc__, add_options, run, find_faults, needs_fairseq=False)


def main() -> int:
    """Translate; an error is one line."""
    return COMMAND.main()


if __name__ == "__main__":
    raise SystemExit(main())
