"""Files translated on many machines: Ray Data reads shards, hands them to actors, and repeats what a lost machine did.

The actor that translates a shard writes its file: results need no order, and a shard that is repeated is found there.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send statistics to its makers
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this process; those of the nodes are in their files

import ray
import ray.data
import ray.exceptions

from ..translator import Translator
from .files import Files, Shard, counts_of
from .run import Counts

LOCAL = "local"
EXPECTED = (ImportError, OSError, ValueError)  # errors that a user can mend; they come back as values, in one line
Row = dict[str, Any]


class Cluster(NamedTuple):
    """A Ray cluster, and the processes on it.

    Attributes:
        address: ``auto``, the cluster of this machine; HOST:PORT; or ``LOCAL``, a new one on this machine.
        actors: most processes that translate; None: as many as there are processors, or GPUs.
    """

    address: str
    actors: int | None


class _Reader:
    """Turns the path of an input file into its shards, or none if its translation is there.

    Actors see whether a shard is kept: if Ray loses rows, it reads the file again, and relies on the same rows.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def read(self, row: Row) -> Iterator[Row]:
        source = Path(row["item"])
        try:
            if self._files.find_whole(source) is None:
                yield from ({**shard._asdict(), "fault": ""} for shard in self._files.shards(source))
        except EXPECTED as error:
            yield {**Shard(str(source), 0, b"")._asdict(), "fault": str(error)}

    def join(self, row: Row) -> Row:
        source = Path(row["item"])
        try:
            counts = self._files.find_whole(source) or self._files.join(source)
            return {"source": row["item"], "counts": json.dumps(asdict(counts)), "fault": ""}
        except EXPECTED as error:
            return {"source": row["item"], "counts": "", "fault": str(error)}


class _Actor:
    """Loads the model once and translates shards."""

    def __init__(self, files: Files, loading: Mapping[str, Any]) -> None:
        self._files, self._fault = files, ""
        try:
            self._translator = Translator.load(**loading)
        except EXPECTED as error:
            self._fault = str(error)

    def __call__(self, row: Row) -> Row:
        """Translate a shard."""
        fault, lines = row.pop("fault") or self._fault, 0
        try:
            if not fault:
                lines = self._files.translate(self._translator, Shard(**row))
        except EXPECTED as error:
            fault = str(error)
        return {"lines": lines, "fault": fault}


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Use a cluster; a ConnectionError if there is none."""
    local = {"include_dashboard": False} if address == LOCAL else {}
    ray.init(address, logging_level="error", log_to_driver=False, **local)
    try:
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.target_max_block_size = 1  # bytes: each shard is a block, which any actor may take
        yield
    finally:
        ray.shutdown()


def _rows(found: ray.data.Dataset) -> Iterator[Row]:
    try:
        for row in found.iter_rows():
            if row["fault"]:
                raise ValueError(row["fault"])
            yield row
    except ray.exceptions.RayError as error:
        *_, last = str(error).split("\n")
        if not last.startswith("ModuleNotFoundError"):
            raise
        raise ValueError(f"--engine-cluster needs the same packages on each machine, but one says {last}") from error


def _count_places(unit: str, needed: int) -> int:
    """Return how many actors the machines can run now."""
    places = sum(int(node["Resources"].get(unit, 0) // needed) for node in ray.nodes() if node["Alive"])
    if not places:
        raise ValueError(
            f"--device and --threads must fit a machine of the cluster, but none has {needed} {unit}; pass --actors if "
            "machines are to be added"
        )
    return places


def translate_on_cluster(
    files: Files,
    sources: Sequence[Path],
    loading: Mapping[str, Any],
    cluster: Cluster,
    advance: Callable[[int], object],
) -> Counts:
    """Translate files in actors; the cluster's machines see the same files, and have this package.

    Args:
        files: the run.
        sources: the input files.
        loading: arguments of ``Translator.load``.
        cluster: where.
        advance: receives the number of lines of each shard, once it is kept.

    Returns:
        The numbers of lines of all files.

    Raises:
        ConnectionError: if there is no cluster.
        ValueError: if a file cannot be read or written, or the model does not load.
    """
    unit, needed = ("GPU", 1) if loading["device"] == "cuda" else ("CPU", loading["threads"])
    with _connected(cluster.address):
        actors = cluster.actors or _count_places(unit, needed)
        paths = ray.data.from_items([str(source) for source in sources], override_num_blocks=len(sources))
        reader, total = _Reader(files), Counts()
        shards = paths.flat_map(reader.read, num_cpus=0, concurrency=min(actors, len(sources)))
        translated = shards.map(
            _Actor,
            fn_constructor_args=(files, loading),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
            **{f"num_{unit.lower()}s": needed},
        )
        for row in _rows(translated):
            advance(row["lines"])
        joined = {row["source"]: row["counts"] for row in _rows(paths.map(reader.join))}
        for source in sources:
            total.add(counts_of(json.loads(joined[str(source)])))
        return total
