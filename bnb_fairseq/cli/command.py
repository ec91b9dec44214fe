"""A command of this package: options that several commands share, checks of them, start and end."""

import logging
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .errors import one_line_errors

if TYPE_CHECKING:
    from ..bulk.cluster import Machines

INTERRUPTED, CLOSED_PIPE = 130, 141  # 128 and the signal's number, as a shell has them
Value = TypeVar("Value")


def _no_faults(arguments: Namespace) -> list[str]:
    return []


class Command(NamedTuple):
    """A command; its module imports torch and fairseq in ``run`` only, so that help and refusals come at once.

    Attributes:
        name: as the user types it.
        about: its description.
        add_options: adds its options to a parser.
        run: does the work; may return an exit status.
        find_faults: lists all that is wrong with the options, before anything is loaded.
        usage: in place of argparse's; None: argparse's.
        needs_fairseq: what it runs reads checkpoints or builds fairseq's tasks.
    """

    name: str
    about: str | None
    add_options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int | None]
    find_faults: Callable[[Namespace], list[str]] = _no_faults
    usage: str | None = None
    needs_fairseq: bool = True

    def parse(self, argv: Sequence[str] | None = None) -> Namespace:
        """Parse a command line; None: the process's own."""
        parser = ArgumentParser(
            prog=self.name, description=self.about, usage=self.usage, formatter_class=RawDescriptionHelpFormatter
        )
        self.add_options(parser)
        return parser.parse_args(argv)

    def execute(self, argv: Sequence[str] | None = None) -> int:
        """Parse, check and run.

        Args:
            argv: the arguments; None: the process's own.

        Returns:
            The exit status.

        Raises:
            ImportError: if torch or fairseq is missing, with the commands that install it.
            ValueError: listing all that is wrong with the options; or raised by ``run``.
        """
        arguments = self.parse(argv)
        refuse(self.find_faults(arguments))
        logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
        if self.needs_fairseq:
            import_module("..plugin", __package__)
        return self.run(arguments) or 0

    def main(self) -> int:
        """Run the process's command line and return its exit status; an error that a user can mend is one line."""
        with one_line_errors(self.name, ValueError, OSError, ImportError):
            try:
                status = self.execute()
                sys.stdout.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
                return CLOSED_PIPE
            except KeyboardInterrupt:
                return INTERRUPTED
        return status


def refuse(faults: Sequence[str]) -> None:
    """Raise all faults at once, if there are any.

    Args:
        faults: each names an option, what it must be, and what it is.

    Raises:
        ValueError: with all of them.
    """
    if faults:
        raise ValueError("; ".join(faults))


def reading(read: Callable[[str], Value]) -> Callable[[str], Value]:
    """Wrap a function for ``type=`` of argparse, which hides the message of a ValueError."""

    def checked(text: str) -> Value:
        try:
            return read(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from error

    return checked


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a number from a lowest one on, for argparse."""

    def read(text: str) -> int:
        number = int(text)
        if number < least:
            raise ArgumentTypeError(f"must be at least {least}, but is {number}")
        return number

    read.__name__ = "int"  # argparse names it where a text is no number
    return read


def add_data_bin(parser: ArgumentParser) -> None:
    """Add DATA_BIN."""
    parser.add_argument("data_bin", type=Path, metavar="DATA_BIN", help="folder made by fairseq-preprocess")


def add_path(parser: ArgumentParser, kind: str) -> None:
    """Add ``--path``, a checkpoint of this kind."""
    parser.add_argument("--path", type=Path, required=True, metavar="CHECKPOINT", help=f"checkpoint of {kind}")


def add_part(parser: ArgumentParser, option: str, default: str, purpose: str = "translate") -> None:
    """Add ``--gen-subset`` or ``--subset``."""
    text = f"part of the data to {purpose} (default: {default})"
    parser.add_argument(option, default=default, metavar="PART", help=text)


def add_batch_size(parser: ArgumentParser, default: int | None = 64) -> None:
    """Add ``--batch-size``; a default of None is left out of its help."""
    text = "sentences in a batch" + (f" (default: {default})" if default else "")
    parser.add_argument("--batch-size", type=int, default=default, metavar="N", help=text)


def add_cpu(parser: ArgumentParser) -> None:
    """Add ``--cpu``."""
    parser.add_argument("--cpu", action="store_true", help="use the CPU even where there is a GPU")


def add_threads(add: Callable[..., object]) -> None:
    """Add ``--threads`` by a method ``add_argument``."""
    text = "threads on the CPU (default: all cores; on a cluster 1 for each process)"
    add("--threads", type=at_least(1), metavar="N", help=text)


def add_cluster(add: Callable[..., object], about: str) -> None:
    """Add the options of a cluster.

    Args:
        add: a method ``add_argument``.
        about: what the cluster does.
    """
    text = f"{about} on the machines of a Ray cluster (default: on this machine alone)"
    add("--engine-cluster", choices=["ray"], help=text)
    text = "of the cluster: auto (the one of this machine), HOST:PORT, or local (a new one here; default: local)"
    add("--address", metavar="A", help=text)
    text = "most processes of the cluster that translate (default: one for each --threads processors, or GPU)"
    add("--actors", type=at_least(1), metavar="N", help=text)


def find_cluster_faults(arguments: Namespace) -> list[str]:
    """Check the options of ``add_cluster``."""
    if arguments.engine_cluster is None:
        given = {name: getattr(arguments, name) for name in ("address", "actors")}
        return [
            f"--{name} needs --engine-cluster ray, but is {value} without it"
            for name, value in given.items()
            if value is not None
        ]
    if find_spec("ray") is None:
        return ["--engine-cluster ray needs the package ray (pip install 'bnb_fairseq[ray]'), but it is missing"]
    return []


@contextmanager
def machines_of(arguments: Namespace) -> Iterator["Machines | None"]:
    """Connect to the cluster that the options of ``add_cluster`` name.

    Args:
        arguments: the command line.

    Yields:
        The machines; None without a cluster.

    Raises:
        ConnectionError: if there is no such cluster.
    """
    if arguments.engine_cluster is None:
        yield None
        return
    from ..bulk.cluster import LOCAL, connected

    with connected(LOCAL if arguments.address is None else arguments.address, arguments.actors) as machines:
        yield machines


def find_small(arguments: Namespace, least: Mapping[str, float]) -> list[str]:
    """List the options below their least value.

    Args:
        arguments: numbers or lists of numbers by name; None passes.
        least: lowest value that is allowed, by name.

    Returns:
        A fault for each option.
    """
    faults = []
    for name, lowest in least.items():
        given = getattr(arguments, name)
        values = [] if given is None else given if isinstance(given, list) else [given]
        for value in [value for value in values if not value >= lowest][:1]:  # nan is not allowed
            faults.append(f"--{name.replace('_', '-')} must be at least {lowest}, but is {value}")
    return faults


def find_data_bin_faults(folder: Path) -> list[str]:
    """Check that DATA_BIN has dictionaries."""
    if any(folder.glob("dict.*.txt")):
        return []
    return [f"DATA_BIN must be a folder made by fairseq-preprocess, but is {folder}"]


def find_part_faults(folder: Path, parts: Mapping[str, str | None]) -> list[str]:
    """Check that a data-bin folder has the named parts, given by option; None passes."""
    known = sorted({path.name.split(".")[0] for path in folder.glob("*.idx")})
    listed = ", ".join(known) or "it has none"
    return [
        f"{option} must be a part of {folder} ({listed}), but is {part}"
        for option, part in parts.items()
        if part is not None and part not in known
    ]


def find_output_faults(option: str, file: Path) -> list[str]:
    """Check that a file can be written."""
    if file.is_dir():
        return [f"{option} must be a file, but {file} is a folder"]
    if not file.parent.is_dir():
        return [f"{option} must lie in a folder that exists, but {file.parent} is none"]
    return []
