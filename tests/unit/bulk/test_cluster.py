"""How values, and errors that a user can mend, travel through Ray Data; the integration test has a cluster."""

import pickle
import socket
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("ray.data", reason="needs pip install 'bnb_fairseq[ray]'")

import ray
import ray.exceptions

from bnb_fairseq.bulk import cluster
from bnb_fairseq.bulk.cluster import Row
from bnb_fairseq.cli.command import machines_of

from ...facts import names


def pack(value: object) -> Row:
    return {"value": pickle.dumps(value), "fault": ""}


def unpack(row: Row) -> object:
    return pickle.loads(row["value"]) if not row["fault"] else row["fault"]


def halve(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


def test_shards_until_an_error() -> None:
    def split(text: str) -> Iterator[int]:
        yield from map(int, text.split(","))

    read = cluster._splitting(split)
    assert list(map(unpack, read(pack("1,2")))) == [1, 2]
    assert list(map(unpack, read(pack("1,x,2")))) == [1, "invalid literal for int() with base 10: 'x'"]


def test_an_actor_loads_once_and_keeps_going_after_an_error() -> None:
    loaded: list[int] = []

    def load() -> Callable[[Any], object]:
        loaded.append(1)
        return halve

    actor = cluster._Actor(load)
    rows = [pack(4), pack(3), {"value": b"", "fault": "cut file"}, pack(0)]
    assert [unpack(actor(row)) for row in rows] == [2, "3 is odd", "cut file", 0]
    assert loaded == [1]


def test_an_actor_that_cannot_load_says_so_for_each_shard() -> None:
    def load() -> Callable[[Any], object]:
        raise FileNotFoundError("no teacher.pt")

    actor = cluster._Actor(load)
    rows = [pack(4), {"value": b"", "fault": "cut file"}]
    assert [unpack(actor(row)) for row in rows] == ["no teacher.pt", "cut file"]


def test_an_error_that_nobody_expects_is_raised() -> None:
    with pytest.raises(TypeError):
        cluster._calling(halve)(pack("x" * 2))


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 5.0}}, {"Alive": False, "Resources": {"CPU": 8.0, "GPU": 1.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert cluster._count_places("CPU", 1) == 5
    assert cluster._count_places("CPU", 2) == 2
    assert not cluster.Machines(None).has_gpus()
    with pytest.raises(ValueError, match=names("--threads", "6 CPU", "--actors")):
        cluster._count_places("CPU", 6)
    with pytest.raises(ValueError, match=names("--device", "1 GPU")):
        cluster._count_places("GPU", 1)
    nodes[1]["Alive"] = True
    assert cluster.Machines(None).has_gpus()


def test_an_address_where_nothing_is() -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        nowhere = f"127.0.0.1:{taken.getsockname()[1]}"
        for address in (nowhere, "127.0.0.1:99999999", "here", "127.0.0.1:", ""):
            message = names("--address", "HOST:PORT", address) if address[-1:] not in ":" else "--address .* HOST:PORT"
            with pytest.raises(ConnectionError, match=message), cluster.connected(address, None):
                pass
    given = Namespace(engine_cluster="ray", address="", actors=None)  # as of a variable that is not set
    with pytest.raises(ConnectionError, match="--address"), machines_of(given):
        pass
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    "error",
    [
        ray.exceptions.RayError("no authentication token was found"),
        RuntimeError("No node info found"),  # no process of the cluster runs on this machine
        RuntimeError("Version mismatch"),
        ConnectionError("Could not find any running Ray instance"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_cluster_that_refuses(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    message = names("--address", "auto", str(error).rpartition(":")[2])
    with pytest.raises(ConnectionError, match=message), cluster.connected("auto", None):
        pass
