"""The folder that ``bnb-distill`` fills.

Files and folders in it are complete or not there, so that the process may be killed at any moment.

==========================  ========================================================================================
``run.json``                the options of the run, which must stay the same
``shards/000000000``        translations of the sentences from this number on, described in ``shard.json``
``train.de``                the distilled target as text, one sentence a line
``data-bin``                the distilled data-bin folder; it appears last
==========================  ========================================================================================
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fairseq.data import indexed_dataset
from torch import Tensor

from ..checkpoints.writing import PARTIAL, staging

Options = Mapping[str, str | int | float | None]


class Shard(NamedTuple):
    """Neighbouring sentences: from ``first`` to before ``end``."""

    first: int
    end: int


class Translations(NamedTuple):
    """The distilled target of a shard, in the order of the data.

    Attributes:
        tokens: ids, each sentence ending in [SEP].
        texts: the same as detokenised text.
        kept: sentences that were too long for the teacher and kept their own target.
        unknown: translations with an unknown symbol.
    """

    tokens: Sequence[Tensor]
    texts: Sequence[str]
    kept: int
    unknown: int


class DataBin(NamedTuple):
    """A part of a data-bin folder.

    Attributes:
        folder: the data-bin folder.
        subset: name of the part.
        pair: languages as in its file names, such as ``en-de``.
        target_lang: target language.
        dataset_impl: storage format, by fairseq's name.
        symbols: size of the target dictionary.
    """

    folder: Path
    subset: str
    pair: str
    target_lang: str
    dataset_impl: str
    symbols: int

    @property
    def target(self) -> str:
        """Name of the target's files without their ending."""
        return f"{self.subset}.{self.pair}.{self.target_lang}"


def shards_of(sentences: int, size: int) -> list[Shard]:
    """Cut a number of sentences into shards of a size; the last one may be smaller."""
    return [Shard(first, min(first + size, sentences)) for first in range(0, sentences, size)]


def file_digest(path: Path) -> str:
    """Return half the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def digest(paths: Iterable[Path]) -> str:
    """Return a hash of names and contents of files, whatever their order."""
    lines = [f"{path.name} {file_digest(path)}\n" for path in sorted(paths)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:32]


@contextmanager
def open_output(folder: Path, options: Options) -> Iterator["Output"]:
    """Open the folder of a new or interrupted run and lock it against other processes.

    Args:
        folder: made if it is missing.
        options: options that must stay the same for a run to go on, by name.

    Yields:
        Output: the folder.

    Raises:
        ValueError: if it holds something else, a run with other options, or one of another process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"--output must be filled by one process, but another one is at {folder}") from None
        _claim(folder, options)
        for left in [*folder.glob(f"{PARTIAL}*"), *folder.glob(f"shards/{PARTIAL}*")]:  # by a process that was killed
            shutil.rmtree(left)
        yield Output(folder)
    finally:
        os.close(lock)


def _claim(folder: Path, options: Options) -> None:
    record = folder / "run.json"
    if record.is_file():
        earlier = json.loads(record.read_text(encoding="utf-8"))
        names = [name for name in {**options, **earlier} if options.get(name) != earlier.get(name)]
        if names:
            changes = ", ".join(f"{name} is {options.get(name)} here, {earlier.get(name)} there" for name in names)
            raise ValueError(f"--output must be another folder for a run with other options; {folder}: {changes}")
        return
    strange = sorted(path.name for path in folder.iterdir() if not path.name.startswith(PARTIAL))
    if strange:
        raise ValueError(
            f"--output must be a new or empty folder, or one of an earlier run, but {folder} holds {strange[0]} and no "
            f"run.json"
        )
    with staging(folder) as lent:
        (lent / record.name).write_text(json.dumps(options, indent=2) + "\n", encoding="utf-8")


class Output:
    """The folder of a run.

    Args:
        folder: has ``run.json``.

    Attributes:
        data_bin: the distilled data-bin folder, which exists once all is done.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.data_bin = folder / "data-bin"
        self._run = file_digest(folder / "run.json")

    def shard(self, shard: Shard) -> Path:
        """Return the folder of a shard."""
        return self._folder / "shards" / f"{shard.first:09d}"

    def has(self, shard: Shard) -> bool:
        """Return whether this run wrote the shard, and its files are unchanged."""
        folder = self.shard(shard)
        try:
            found = json.loads((folder / "shard.json").read_text(encoding="utf-8"))
            return {**found, **self._identity(shard, folder)} == found
        except (OSError, ValueError):  # not there, or broken: a machine that crashed loses what it had yet to write
            return False

    def _identity(self, shard: Shard, folder: Path) -> dict[str, Any]:
        files = [folder / name for name in ("target.bin", "target.idx", "text")]
        return {"run": self._run, **shard._asdict(), "files": digest(files)}

    def write_shard(self, shard: Shard, translations: Translations, data: DataBin) -> None:
        """Write the translations of a shard of the data; an OSError leaves nothing half done."""
        final = self.shard(shard)
        with staging(final.parent) as lent:
            partial = lent / final.name
            partial.mkdir()
            builder = indexed_dataset.make_builder(str(partial / "target.bin"), data.dataset_impl, data.symbols)
            for tokens in translations.tokens:
                builder.add_item(tokens)
            builder.finalize(str(partial / "target.idx"))
            text = "".join(f"{line}\n" for line in translations.texts)
            (partial / "text").write_text(text, encoding="utf-8", newline="\n")
            about = {**self._identity(shard, partial), "kept": translations.kept, "unknown": translations.unknown}
            (partial / "shard.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)  # a damaged one

    def assemble(self, shards: Sequence[Shard], data: DataBin) -> tuple[int, int]:
        """Join all shards, in order, to the distilled text and data-bin folder; the other files are copies.

        Returns the sums of ``kept`` and ``unknown`` over the shards.
        """
        text = f"{data.subset}.{data.target_lang}"
        with staging(self._folder) as lent, (lent / text).open("wb") as joined:
            for shard in shards:
                joined.write((self.shard(shard) / "text").read_bytes())
        with staging(self._folder) as lent:
            partial = lent / self.data_bin.name
            partial.mkdir()
            distilled = [f"{data.target}.{ending}" for ending in ("bin", "idx")]
            replaced = (*distilled, f"{data.target}.txt")  # the last: raw text of what is replaced
            for path in sorted(data.folder.iterdir()):
                if path.is_file() and path.name not in replaced:
                    shutil.copyfile(path, partial / path.name)
            builder = indexed_dataset.make_builder(str(partial / distilled[0]), data.dataset_impl, data.symbols)
            for shard in shards:
                builder.merge_file_(str(self.shard(shard) / "target"))
            builder.finalize(str(partial / distilled[1]))
            os.sync()  # or, if the machine crashes, the new name could reach the disk before the contents
        reports = [json.loads((self.shard(shard) / "shard.json").read_text(encoding="utf-8")) for shard in shards]
        return sum(report["kept"] for report in reports), sum(report["unknown"] for report in reports)
