"""Checks of the text files that ``fairseq-preprocess`` will read."""

import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fairseq import options

from .answer_context import find_source_fault, find_target_fault
from .raw_texts import SUFFIX, Preprocessing
from .storage import check_format

COMMANDS = ("fairseq-preprocess", "preprocess.py")
CARRIAGE_RETURN = b"\r"
NEEDED = ("--trainpref", "--validpref")  # parts that must not be empty
logger = logging.getLogger(__name__)


def count_lines(path: Path, option: str) -> int:
    """Count the lines of a text file, which must be UTF-8 with newlines as the only line ends.

    fairseq reads text with Python's universal newlines, which also split at a single carriage return.

    Args:
        path: the file.
        option: the command-line option that named it, for messages.

    Returns:
        Number of lines.

    Raises:
        ValueError: if the file is missing, or a line is not valid UTF-8 or holds a carriage return before its end.
    """
    if not path.is_file():
        raise ValueError(f"{option}: there is no file {path}")
    number = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{option}: {path}, line {number} is not valid UTF-8 (byte {line[error.start]:#04x} at column "
                    f"{error.start + 1}); convert the file, for example with iconv"
                ) from error
            if CARRIAGE_RETURN in line.removesuffix(b"\r\n"):
                raise ValueError(
                    f"{option}: {path}, line {number} has a carriage return inside (column "
                    f"{line.index(CARRIAGE_RETURN) + 1}), where fairseq would end the line; replace it, for example "
                    f"with tr '\\r' ' '"
                )
    return number


def _count_filled(path: Path, option: str) -> int:
    """Count lines; refuse an empty file for training or validation, and warn of another."""
    number = count_lines(path, option)
    if number == 0:
        if option in NEEDED:
            raise ValueError(f"{option}: {path} must have at least 1 line, but has 0")
        logger.warning("%s: %s is empty", option, path)
    return number


def check_lines(lines: Sequence[str], option: str, before: int = 0) -> None:
    """Check that lines which Python has read, after ``before`` earlier ones of an ``option``, were valid UTF-8.

    Broken bytes are read as lone surrogates. A ValueError names the first such line.
    """
    for number, line in enumerate(lines, start=before + 1):
        try:
            line.encode("utf-8")
        except UnicodeEncodeError as error:
            shown = ascii(line[max(0, error.start - 20) : error.end + 20])
            raise ValueError(f"{option}: line {number} is not valid UTF-8, near {shown}") from error


def check_parallel(prefix: str, languages: Sequence[str], option: str) -> None:
    """Check that the files of all languages, ``prefix.LANG``, are UTF-8 and have the same number of lines.

    A ValueError names the option, the files and the counts, if they differ or are 0 where sentences are needed.
    """
    counts = {f"{prefix}.{language}": _count_filled(Path(f"{prefix}.{language}"), option) for language in languages}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} has {count:,}" for name, count in counts.items())
        raise ValueError(f"{option}: source and target need the same number of lines, but {found}")


def check_documents(path: Path, option: str) -> None:
    """Check that no document of a plain text is empty; a document is a line, or ends at one empty line.

    A ValueError names the option and the first line that ends an empty document, or a file that is missing or not
    UTF-8.
    """
    _count_filled(path, option)
    before = b""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip() and not before.strip():
                raise ValueError(f"{option}: {path}, line {number} ends an empty document; leave the line out")
            before = line


def check_preprocessing_command(argv: Sequence[str] | None = None) -> None:
    """Check the files on the command line of ``fairseq-preprocess``; do nothing under another command.

    fairseq gives the task only the dictionaries, never the text files, so fairseq's own parser reads the command line
    again (``argv``; None: ``sys.argv``). A ValueError names a file that is missing, not UTF-8, or longer than its
    counterpart.
    """
    args = _preprocessing_arguments(argv)
    if args is None:
        return
    languages = [language for language in (args.source_lang, args.target_lang) if language]
    if args.only_source:
        languages = languages[:1]
    for prefix, option in _prefixes(args):
        if languages:
            check_parallel(prefix, languages, option)
        elif args.only_source:  # without a language the prefix is the file
            _count_filled(Path(prefix), option)


def check_corpus_command(argv: Sequence[str] | None = None) -> None:
    """As ``check_preprocessing_command``, for a corpus of plain text, which has no languages and no empty documents."""
    args = _preprocessing_arguments(argv)
    if args is None:
        return
    if not args.only_source:
        raise ValueError("--only-source is needed for a corpus of plain text, but is not set")
    for option, language in (("--source-lang", args.source_lang), ("--target-lang", args.target_lang)):
        if language is not None:
            raise ValueError(f"{option} must not be set for a corpus of plain text, but is {language}")
    for prefix, option in _prefixes(args):
        check_documents(Path(prefix), option)


def check_question_command(argv: Sequence[str] | None = None) -> None:
    """As ``check_preprocessing_command``, for answers with contexts and questions; a ValueError names a faulty line."""
    check_preprocessing_command(argv)
    args = _preprocessing_arguments(argv)
    if args is None:
        return
    for prefix, option in _prefixes(args):
        _check_each_line(_file(prefix, args.source_lang), find_source_fault, option)
        if not args.only_source:
            _check_each_line(_file(prefix, args.target_lang), find_target_fault, option)


def _file(prefix: str, language: str | None) -> Path:
    return Path(prefix if language is None else f"{prefix}.{language}")


def _check_each_line(path: Path, find_fault: Callable[[str], str | None], option: str) -> None:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if fault := find_fault(line.decode("utf-8")):
                raise ValueError(f"{option}: {path}, line {number} {fault}")


def running_preprocessing(argv: Sequence[str] | None = None) -> Preprocessing | None:
    """Texts and parts of the running ``fairseq-preprocess``; None under any other command."""
    args = _preprocessing_arguments(argv)
    if args is None:
        return None
    languages = [args.source_lang] if args.only_source else [args.source_lang, args.target_lang]
    names = {language: "dict.txt" if language is None else f"dict.{language}.txt" for language in languages}
    training = {names[language]: _file(args.trainpref, language) for language in languages if args.trainpref}
    if args.dict_only:
        return Preprocessing({}, training, {})
    texts = {"train": args.trainpref} if args.trainpref else {}
    for part in ("valid", "test"):
        prefixes = getattr(args, f"{part}pref")
        texts |= {
            f"{part}{number or ''}": prefix for number, prefix in enumerate(prefixes.split(",") if prefixes else [])
        }
    parts = {names[language]: [_part(args, part, language) for part in texts] for language in languages}
    if args.only_source:
        return Preprocessing(parts, training, {})
    target = args.target_lang
    references = [
        (_file(prefix, target), Path(f"{_part(args, part, target)}{SUFFIX}"))
        for part, prefix in texts.items()
        if part != "train"
    ]
    return Preprocessing(parts, training, {names[target]: references})


def _part(args: Namespace, name: str, language: str | None) -> Path:
    """Path of a part, without suffix, as fairseq names it."""
    if language is None and args.only_source:
        return Path(args.destdir, name)
    pair = f"{name}.{args.source_lang}-{args.target_lang}"
    return Path(args.destdir, pair if language is None else f"{pair}.{language}")


def _preprocessing_arguments(argv: Sequence[str] | None) -> Namespace | None:
    """Arguments of ``fairseq-preprocess``; None if another command runs."""
    command, *arguments = argv if argv is not None else sys.argv
    if Path(command).name not in COMMANDS:
        return None
    args: Namespace = options.get_preprocessing_parser().parse_known_args(arguments)[0]
    check_format(args.dataset_impl)
    return args


def _prefixes(args: Namespace) -> Iterator[tuple[str, str]]:
    """Prefixes of the text files, each with the option that names it; fairseq takes only one for training."""
    if args.trainpref:
        yield args.trainpref, "--trainpref"
    for name in ("validpref", "testpref"):
        if prefixes := getattr(args, name):
            yield from ((prefix, f"--{name}") for prefix in prefixes.split(","))
