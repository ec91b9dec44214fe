"""The folder that ``bnb-distill`` fills.

Files and folders in it are complete or not there, so that the process may be killed at any moment.

==========================  ========================================================================================
``run.json``                the options of the run, which must stay the same
``shards/000000000``        translations of the sentences from this number on
``train.de``                the distilled target as text, one sentence a line
``data-bin``                the distilled data-bin folder; it appears last
==========================  ========================================================================================
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq.data import indexed_dataset
from torch import Tensor

from ..bulk.kept import Options, Part, alone, claim, read_part, write_part
from ..bulk.kept import digest as digest_bytes
from ..checkpoints.writing import staging


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
    with alone(folder):
        yield Output(folder, claim(folder, options))


class Output:
    """The folder of a run, which several processes may fill.

    Args:
        folder: has ``run.json``.
        run: hash of its options.

    Attributes:
        data_bin: the distilled data-bin folder, which exists once all is done.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._folder, self._run = folder, run
        self.data_bin = folder / "data-bin"

    def absolute(self) -> "Output":
        """Return the same for processes with another working folder."""
        return Output(self._folder.absolute(), self._run)

    def _place(self, shard: Shard) -> tuple[Path, str]:
        """Return the file of a shard, and its identity."""
        identity = digest_bytes(self._run.encode(), b"%d %d" % shard)
        return self._folder / "shards" / f"{shard.first:09d}", identity

    def has(self, shard: Shard) -> bool:
        """Return whether this run wrote the shard, and its file is unchanged."""
        return read_part(*self._place(shard)) is not None

    def write_shard(self, shard: Shard, translations: Translations) -> None:
        """Write the translations of a shard; an OSError leaves nothing half done."""
        about = {"kept": translations.kept, "unknown": translations.unknown}
        rows = [[tokens.tolist(), text] for tokens, text in zip(translations.tokens, translations.texts, strict=True)]
        body = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        write_part(*self._place(shard), Part(about, body.encode()))

    def _read(self, shard: Shard) -> Translations:
        part = read_part(*self._place(shard))
        if part is None:
            raise OSError(f"{self._place(shard)[0]} has changed since it was written; run the command again")
        rows = [json.loads(line) for line in part.body.decode().split("\n")[:-1]]
        return Translations([torch.tensor(ids) for ids, _ in rows], [text for _, text in rows], **part.about)

    def assemble(self, shards: Sequence[Shard], data: DataBin) -> tuple[int, int]:
        """Join all shards, in order, to the distilled text and data-bin folder; the other files are copies.

        Returns the sums of ``kept`` and ``unknown`` over the shards.
        """
        text, kept, unknown = f"{data.subset}.{data.target_lang}", 0, 0
        distilled = [f"{data.target}.{ending}" for ending in ("bin", "idx")]
        replaced = (*distilled, f"{data.target}.txt")  # the last: raw text of what is replaced
        with staging(self._folder) as lent:
            partial = lent / self.data_bin.name
            partial.mkdir()
            builder = indexed_dataset.make_builder(str(partial / distilled[0]), data.dataset_impl, data.symbols)
            with staging(self._folder) as own, (own / text).open("w", encoding="utf-8", newline="\n") as joined:
                for shard in shards:
                    found = self._read(shard)
                    joined.writelines(f"{line}\n" for line in found.texts)
                    for tokens in found.tokens:
                        builder.add_item(tokens)
                    kept, unknown = kept + found.kept, unknown + found.unknown
            builder.finalize(str(partial / distilled[1]))
            for path in sorted(data.folder.iterdir()):
                if path.is_file() and path.name not in replaced:
                    shutil.copyfile(path, partial / path.name)
            os.sync()  # or, if the machine crashes, the new name could reach the disk before the contents
        return kept, unknown
