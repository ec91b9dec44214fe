"""Work on many machines: Ray Data hands shards to actors, and repeats what a lost machine did.

The actor that does a shard keeps the result itself: results need no order, and a shard that is repeated is found there.
"""

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send statistics to its makers
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this process; those of the nodes are in their files

import ray
import ray.data
import ray.exceptions

AUTO, LOCAL = "auto", "local"
PATIENCE = 10.0  # seconds that a cluster has to answer; Ray itself tries for many minutes
EXPECTED = (ImportError, OSError, ValueError)  # errors that a user can mend; they come back as values, in one line
Row = dict[str, Any]  # a pickled value, and the error in its place, empty if there is none
Input = TypeVar("Input")
Shard = TypeVar("Shard")
Result = TypeVar("Result")


def _pack(value: object) -> Row:
    return {"value": pickle.dumps(value), "fault": ""}


def _fail(fault: str) -> Row:
    return {"value": b"", "fault": fault}


def _splitting(split: Callable[[Input], Iterable[Shard]]) -> Callable[[Row], Iterator[Row]]:
    """Wrap a function for ``flat_map`` of Ray Data."""

    def read(row: Row) -> Iterator[Row]:
        try:
            yield from map(_pack, split(pickle.loads(row["value"])))
        except EXPECTED as error:
            yield _fail(str(error))

    return read


def _calling(call: Callable[[Input], Result]) -> Callable[[Row], Row]:
    """Wrap a function for ``map`` of Ray Data."""

    def do(row: Row) -> Row:
        try:
            return row if row["fault"] else _pack(call(pickle.loads(row["value"])))
        except EXPECTED as error:
            return _fail(str(error))

    return do


class _Actor:
    """A process that loads once what it works with."""

    def __init__(self, load: Callable[[], Callable[[Any], object]]) -> None:
        try:
            self._do = _calling(load())
        except EXPECTED as error:
            fault = str(error)
            self._do = lambda row: row if row["fault"] else _fail(fault)

    def __call__(self, row: Row) -> Row:
        return self._do(row)


class Machines:
    """A Ray cluster that this process is connected to. Its machines see the same files, and have this package.

    Args:
        actors: most processes that work; None: as many as there are processors, or GPUs.
    """

    def __init__(self, actors: int | None) -> None:
        self._actors = actors

    def has_gpus(self) -> bool:
        """Return whether a machine has a GPU now."""
        return any(node["Alive"] and node["Resources"].get("GPU", 0) >= 1 for node in ray.nodes())

    def work(
        self,
        inputs: Sequence[Input],
        split: Callable[[Input], Iterable[Shard]],
        load: Callable[[], Callable[[Shard], Result]],
        cuda: bool,
        threads: int,
    ) -> Iterator[Result]:
        """Do shards in actors; those of a lost machine are done again.

        Args:
            inputs: what shards are made of.
            split: returns the shards of an input, always the same.
            load: called once in each actor; returns what does a shard.
            cuda: each actor has a GPU.
            threads: without a GPU, processors of each actor.

        Yields:
            Result: Of each shard, as they come.

        Raises:
            ValueError: if no machine has that much, or with the first error that a user can mend.
        """
        unit, needed = ("GPU", 1) if cuda else ("CPU", threads)
        actors = self._actors or _count_places(unit, needed)
        shards = _rows(inputs).flat_map(_splitting(split), num_cpus=0, concurrency=min(actors, len(inputs)))
        yield from _values(
            shards.map(
                _Actor,
                fn_constructor_args=(load,),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
                **{f"num_{unit.lower()}s": needed},
            )
        )

    def map(self, inputs: Sequence[Input], call: Callable[[Input], Result]) -> list[Result]:
        """Call a function on each input, each time on some machine.

        Args:
            inputs: all different.
            call: the function.

        Returns:
            The results, in order.

        Raises:
            ValueError: with the first error that a user can mend.
        """

        def call_on(each: Input) -> tuple[Input, Result]:
            return each, call(each)

        found = dict(_values(_rows(inputs).map(_calling(call_on))))
        return [found[each] for each in inputs]


@contextmanager
def connected(address: str, actors: int | None) -> Iterator[Machines]:
    """Use a cluster.

    Args:
        address: ``auto``, the cluster of this machine; HOST:PORT; or ``LOCAL``, a new one on this machine.
        actors: see ``Machines``.

    Yields:
        The machines.

    Raises:
        ConnectionError: if there is no cluster.
    """
    _connect(address)
    try:
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.target_max_block_size = 1  # bytes: each shard is a block, which any actor may take
        yield Machines(actors)
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    local = {"include_dashboard": False} if address == LOCAL else {}
    try:
        if address not in (AUTO, LOCAL):
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
        ray.init(address, logging_level="error", log_to_driver=False, **local)
    except (OSError, ValueError, OverflowError, RuntimeError, ray.exceptions.RayError) as error:
        raise ConnectionError(
            f"--address must be auto, local, or HOST:PORT of a cluster that runs, but is {address}: {error}"
        ) from error


def _rows(inputs: Sequence[object]) -> ray.data.Dataset:
    return ray.data.from_items(list(map(_pack, inputs)), override_num_blocks=len(inputs))


def _values(found: ray.data.Dataset) -> Iterator[Any]:
    try:
        for row in found.iter_rows():
            if row["fault"]:
                raise ValueError(row["fault"])
            yield pickle.loads(row["value"])
    except ray.exceptions.RayError as error:
        *_, last = str(error).split("\n")
        if not last.startswith("ModuleNotFoundError"):
            raise
        raise ValueError(f"--engine-cluster needs the same packages on each machine, but one says {last}") from error


def _count_places(unit: str, needed: int) -> int:
    """Return how many actors the machines can run now."""
    places = sum(int(node["Resources"].get(unit, 0) // needed) for node in ray.nodes() if node["Alive"])
    if not places:
        option = "--threads" if unit == "CPU" else "--device"
        raise ValueError(
            f"{option} must fit a machine of the cluster, but none has {needed} {unit}; pass --actors if machines are "
            "to be added"
        )
    return places
