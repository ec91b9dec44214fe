"""Files translated into a folder, shard by shard: what is finished is kept, and a run that was killed goes on.

====================================  ==============================================================================
``NAME``                              translation of the input file NAME, whole or not there
``.shards/run.json``                  the options, which must stay the same
``.shards/NAME.lines/000000004000``   translation of its lines from this number on, until NAME is there
``.shards/NAME.lines/NAME``           NAME before it is moved to its place
``.shards/NAME.whole``                digests of the input and of its translation, once this is there
====================================  ==============================================================================
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..folder.manifest import sha256
from .kept import Options, Part, claim, digest, read_part, write_part
from .lines import Decoder, windows
from .run import Counts, Settings, Translates, Window, translate_window
from .streams import open_input, open_output

if TYPE_CHECKING:
    from .cluster import Machines

SHARDS = ".shards"


class Shard(NamedTuple):
    """Lines that are translated together.

    Attributes:
        source: path of the input file.
        first: number of the first line, from 0.
        text: the lines, newlines between them.
    """

    source: str
    first: int
    text: bytes


@dataclass(frozen=True)
class Files:
    """A run over files.

    Attributes:
        folder: where the translations go.
        settings: how; a window is a shard.
        run: hash of all that a translation depends on beside the input.
    """

    folder: Path
    settings: Settings
    run: str

    @classmethod
    def open(cls, folder: Path, settings: Settings, options: Options) -> "Files":
        """Begin a run, or go on with one.

        Args:
            folder: where the translations go; made if it is missing.
            settings: how.
            options: what else the translations depend on: model and engine.

        Returns:
            The run.

        Raises:
            OSError: if nothing can be written there.
            ValueError: if it holds a run with other options.
        """
        return cls(folder, settings, claim(folder / SHARDS, {**options, **asdict(settings)}))

    def shards(self, source: Path) -> Iterator[Shard]:
        """Read an input file.

        Args:
            source: the file.

        Yields:
            Shard: The lines, in order.

        Raises:
            ValueError: if it cannot be read.
        """
        first = 0
        with open_input(source) as opened:
            for lines in windows(opened, self.settings.window):
                yield Shard(str(source), first, b"\n".join(lines))
                first += len(lines)

    def _lines(self, name: str) -> Path:
        """Return the folder for the shards of an input file."""
        return self.folder / SHARDS / f"{name}.lines"

    def _place(self, shard: Shard) -> tuple[Path, str]:
        """Return the file of a shard and its identity."""
        path = self._lines(Path(shard.source).name) / f"{shard.first:012d}"
        return path, digest(self.run.encode(), str(shard.first).encode(), shard.text)

    def translate(self, translator: Translates, shard: Shard) -> int:
        """Translate a shard, unless it is kept.

        Args:
            translator: what translates.
            shard: the lines.

        Returns:
            Their number.

        Raises:
            OSError: if there is no room.
            ValueError: if the translator does not take an option.
        """
        lines, place = shard.text.split(b"\n"), self._place(shard)
        if read_part(*place) is None:
            counts = Counts()
            written = translate_window(translator, Window(shard.first, lines), self.settings, counts)
            write_part(*place, Part(asdict(counts), "\n".join(written).encode()))
        return len(lines)

    def find_whole(self, source: Path) -> Counts | None:
        """Return the numbers of lines of an input file whose translation is there; None if it is not."""
        record = self.folder / SHARDS / f"{source.name}.whole"
        if not record.is_file() or not (self.folder / source.name).is_file():
            return None
        identity = hashlib.sha256()
        for shard in self.shards(source):
            identity.update(self._place(shard)[1].encode())
        whole = read_part(record, identity.hexdigest())
        if whole is None or whole.body.decode() != sha256(self.folder / source.name):
            return None
        return counts_of(whole.about)

    def missing(self, source: Path) -> Iterator[Shard]:
        """Read an input file, unless its translation is there; see ``shards``.

        Whether a shard is kept, ``translate`` sees: read once more, the file has the same shards.
        """
        if self.find_whole(source) is None:
            yield from self.shards(source)

    def finish(self, source: Path) -> Counts:
        """Write the translation of an input file from its shards, unless it is there; see ``join``."""
        return self.find_whole(source) or self.join(source)

    def join(self, source: Path) -> Counts:
        """Write the translation of an input file from its shards, which are then deleted.

        Args:
            source: the file.

        Returns:
            The numbers of lines.

        Raises:
            OSError: if there is no room.
            ValueError: if a shard is missing.
        """
        identity, total = hashlib.sha256(), Counts()
        goal, lines = self.folder / source.name, self._lines(source.name)
        with open_output(lines / source.name) as output:
            for shard in self.shards(source):
                place = self._place(shard)
                part = read_part(*place)
                if part is None:
                    raise ValueError(
                        f"--input {source} must not change, but its lines from {shard.first + 1:,} on are not those "
                        "that were translated; run the command again"
                    )
                output.write(part.body.decode().split("\n"))
                total.add(counts_of(part.about))
                identity.update(place[1].encode())
        with (lines / source.name).open("rb") as written:
            os.fsync(written.fileno())  # or, if the machine crashes, neither file nor shards could be on the disk
        (lines / source.name).replace(goal)
        if total.first:
            total.first = f"{source.name}, {total.first}"
        about = Part(asdict(total), sha256(goal).encode())
        write_part(self.folder / SHARDS / f"{source.name}.whole", identity.hexdigest(), about)
        shutil.rmtree(lines, ignore_errors=True)
        return total


def counts_of(about: Mapping[str, Any]) -> Counts:
    """Return numbers of lines that ``dataclasses.asdict`` took apart."""
    return Counts(**{**about, "decoder": Decoder(**about["decoder"])})


def translate_files(
    files: Files, sources: Sequence[Path], translator: Translates, advance: Callable[[int], object]
) -> Counts:
    """Translate files in this process.

    Args:
        files: the run.
        sources: the input files.
        translator: what translates.
        advance: receives the number of lines of each shard, once it is kept.

    Returns:
        The numbers of lines of all files.

    Raises:
        OSError: if there is no room.
        ValueError: if a file cannot be read, or the translator does not take an option.
    """
    total = Counts()
    for source in sources:
        for shard in files.missing(source):
            advance(files.translate(translator, shard))
        total.add(files.finish(source))
    return total


def translate_files_on(
    machines: "Machines",
    files: Files,
    sources: Sequence[Path],
    loading: Mapping[str, Any],
    advance: Callable[[int], object],
) -> Counts:
    """Translate files on a cluster.

    Args:
        machines: the cluster.
        files: the run.
        sources: the input files.
        loading: arguments of ``Translator.load``.
        advance: receives the number of lines of each shard, once it is kept.

    Returns:
        The numbers of lines of all files.

    Raises:
        ValueError: if a file cannot be read or written, or the model does not load.
    """
    total, cuda = Counts(), loading["device"] == "cuda"
    for lines in machines.work(sources, files.missing, partial(_load, files, loading), cuda, loading["threads"]):
        advance(lines)
    for counts in machines.map(sources, files.finish):
        total.add(counts)
    return total


def _load(files: Files, loading: Mapping[str, Any]) -> Callable[[Shard], int]:
    """Return what translates shards."""
    from ..translator import Translator

    return partial(files.translate, Translator.load(**loading))
