"""Measure what a Ray cluster costs over plain ``bnb-translate``: seconds of all its processes, and the same bytes.

    python scripts/benchmarks/cluster.py FOLDER --sentences data/test.en --lines 100 10000 --actors 1 2

The difference of two numbers of lines is free of what starting costs. Where other programs run, compare CPU seconds.
"""

import argparse
import ctypes
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bnb_fairseq.bulk.files import Files
from bnb_fairseq.bulk.run import Settings
from bnb_fairseq.cli.command import refuse
from bnb_fairseq.translator import Translation

PR_SET_CHILD_SUBREAPER = 36  # prctl(2): processes whose parents end become children of this one, so none is overlooked
PAUSE = 0.2  # seconds between looks at the processes: most that is missed of one that ends
TICKS = os.sysconf("SC_CLK_TCK")  # a second


class Cost(NamedTuple):
    """What a command took.

    Attributes:
        seconds: on the clock.
        cpu: of all its processes.
    """

    seconds: float
    cpu: float


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; None: the process's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="folder of an exported model")
    add("--sentences", type=Path, required=True, metavar="FILE", help="source text, repeated where it is too short")
    add("--lines", type=int, nargs="+", default=[100, 10_000], metavar="N", help="lines (default: 100 10000)")
    add("--actors", type=int, nargs="+", default=[1, 2], metavar="N", help="processes that translate (default: 1 2)")
    add("--window", type=int, default=1000, metavar="N", help="lines of a shard (default: 1000)")
    add("--search", choices=["none", "auto"], default="none", help="search of bnb-translate (default: none)")
    return parser.parse_args(argv)


def find_faults(arguments: argparse.Namespace) -> list[str]:
    """Check the options."""
    faults = []
    if not arguments.folder.is_dir():
        faults.append(f"FOLDER must be a folder of an exported model, but there is none at {arguments.folder}")
    if not arguments.sentences.is_file() or not arguments.sentences.stat().st_size:
        faults.append(f"--sentences must be a file with text, but is {arguments.sentences}")
    for name in ("lines", "actors"):
        if min(getattr(arguments, name)) < 1:
            faults.append(f"--{name} must be at least 1, but is {min(getattr(arguments, name))}")
    if arguments.window < 1:
        faults.append(f"--window must be at least 1, but is {arguments.window}")
    return faults


def _look(used: dict[int, int]) -> None:
    """Set the ticks of all processes below this one, by their numbers; those of processes that ended stay."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            number = int(path.parent.name)
            parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    below, size = {os.getpid()}, 0
    while len(below) > size:
        size = len(below)
        below |= {number for number, parent in parents.items() if parent in below}
    used |= {number: ticks[number] for number in below if number != os.getpid()}


def measure(words: Sequence[object]) -> Cost:
    """Run ``bnb-translate`` and wait for all processes that it started.

    Args:
        words: its arguments.

    Returns:
        What it took.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    begun, used = time.monotonic(), dict[int, int]()
    line = [sys.executable, "-m", "bnb_fairseq.cli.translate", *map(str, words)]
    with subprocess.Popen(line, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        while process.poll() is None:
            _look(used)
            time.sleep(PAUSE)
    seconds = time.monotonic() - begun
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, line)
    with suppress(ChildProcessError):  # until none is left
        while True:
            os.wait()
    return Cost(seconds, sum(used.values()) / TICKS)


class Copying:
    """Translates nothing, so that reading and writing are what takes time."""

    def translate(self, texts: Sequence[str], nbest: int = 1, **options: object) -> list[Translation]:
        """Return the texts."""
        return [Translation(text) for text in texts]


def measure_files(source: Path, output: Path, window: int) -> dict[str, float]:
    """Return CPU seconds of reading a file, of writing its shards, of joining these, and of finding it whole."""
    files = Files.open(output, Settings(window=window), {})
    translator, seconds = Copying(), {}

    def write() -> None:
        for shard in files.shards(source):
            files.translate(translator, shard)

    steps: dict[str, Callable[[], object]] = {
        "reading": lambda: sum(len(shard.text) for shard in files.shards(source)),
        "reading and writing shards": write,
        "joining shards": lambda: files.join(source),
        "comparing digests of what is there": lambda: files.find_whole(source),
    }
    for step, do in steps.items():
        begun = time.process_time()
        do()
        seconds[step] = time.process_time() - begun
    return seconds


def run(arguments: argparse.Namespace) -> None:
    """Print a row for each way and number of lines.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if a cluster's translation differs from that of the plain command.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the seconds of a cluster cannot be counted")
    with arguments.sentences.open("rb") as file:
        sentences = [line.rstrip(b"\n") + b"\n" for line in file]
    print("| way | lines | CPU s | clock s | lines per CPU s |")
    print("|---|--:|--:|--:|--:|")
    for lines in arguments.lines:
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            (place / "in.txt").write_bytes(b"".join(itertools.islice(itertools.cycle(sentences), lines)))
            for step, cpu in measure_files(place / "in.txt", place / "files", arguments.window).items():
                print(f"| {step}, without a model | {lines:,} | {cpu:.2f} | | {lines / max(cpu, 1e-3):,.0f} |")
            common = [arguments.folder, "--input", place / "in.txt", "--search", arguments.search, "--threads", 1]
            common += ["--window", arguments.window, "--output"]
            ways: dict[str, list[object]] = {"plain command": [place / "plain.txt"]}
            for actors in arguments.actors:
                cluster = ["--engine-cluster", "ray", "--actors", actors]
                ways[f"Ray, actors: {actors}"] = [place / str(actors), *cluster]
            for way, words in ways.items():
                cost = measure([*common, *words])
                print(
                    f"| {way} | {lines:,} | {cost.cpu:.1f} | {cost.seconds:.1f} | {lines / cost.cpu:.1f} |", flush=True
                )
            for actors in arguments.actors:
                if (place / str(actors) / "in.txt").read_bytes() != (place / "plain.txt").read_bytes():
                    raise ValueError(f"--actors {actors}: the translation differs from the plain command's")
    print("\nAll translations are the plain command's, byte for byte.")


def main() -> None:
    """Measure."""
    arguments = parse()
    refuse(find_faults(arguments))
    run(arguments)


if __name__ == "__main__":
    main()
