"""``bnb-serve`` on a Ray cluster of two nodes, of which one is killed."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from bnb_fairseq.translator import Translator

from ..facts import named
from ..unit.conftest import random_parameters  # noqa: F401  # a fixture
from ..unit.export.conftest import SENTENCES, trained  # noqa: F401  # a fixture
from ..unit.folder.conftest import exported  # noqa: F401  # a fixture

ray = pytest.importorskip("ray", reason="needs pip install 'bnb_fairseq[ray]'")

STORE = 100 << 20  # bytes of a node's object store
PATIENCE = 240  # seconds


def free_port() -> int:
    """A port below those that a system gives away by itself: Ray's processes take many of these as they start."""
    for port in range(20000 + os.getpid() % 12000, 32768):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


@contextmanager
def running(folder: Path) -> Iterator[tuple[Any, httpx.Client]]:
    """Two copies on two nodes, and a client of the head, which computes nothing."""
    from ray import serve
    from ray.cluster_utils import Cluster

    from bnb_fairseq.cli.serve_on_ray import app

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=STORE)
        port = free_port()
        ray.init(cluster.address, logging_level="error", log_to_driver=False)
        serve.start(proxy_location="HeadOnly", http_options={"port": port})
        serve.run(app({"command": f"{folder} --max-texts 3", "replicas": "2", "least": "2"}))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            yield cluster, client
        serve.shutdown()
    finally:
        ray.shutdown()
        cluster.shutdown()


def translate(client: httpx.Client, texts: list[str]) -> httpx.Response:
    return client.post("/v1/translate", json={"texts": texts, "search": "none"})


def count_running() -> int:
    """Copies that Ray sends requests to."""
    from ray import serve

    (deployment,) = serve.status().applications["default"].deployments.values()
    return int(deployment.replica_states.get("RUNNING", 0))


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.2)


@pytest.mark.slow
def test_a_node_is_killed(exported: dict[str, Path]) -> None:  # noqa: F811
    folder = exported["ctc"]
    found = Translator.load(folder).translate(SENTENCES, search="none")
    expected = {text: one.text for text, one in zip(SENTENCES, found, strict=True)}
    with running(folder) as (cluster, client):

        def all_answered() -> bool:
            """Whether each of 50 requests had an answer, of which none may be wrong."""
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda text: (text, translate(client, [text])), [*expected] * 10))
            for text, answer in answers:
                assert answer.is_server_error or answer.json()["translations"][0]["text"] == expected[text]
            return all(answer.is_success for _, answer in answers)

        assert all_answered()
        answer = translate(client, ["a"] * 4)
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (400, "nosniff")
        assert named(answer.json()["error"], "texts", "3", "4")
        assert b"<title>" in client.get("/").content
        cluster.remove_node(sorted(cluster.worker_nodes, key=id)[0], allow_graceful=False)
        # A copy outlives its killed node by a moment, and answers until Ray takes it off the list.
        wait_until(lambda: count_running() == 1)
        wait_until(all_answered)


def test_arguments_that_do_not_fit(exported: dict[str, Path]) -> None:  # noqa: F811
    from bnb_fairseq.cli.serve_on_ray import app

    folder = str(exported["ctc"])
    for given, facts in (
        ({}, ["command"]),
        ({"command": folder, "copies": "2"}, ["copies"]),
        ({"command": folder, "replicas": "1", "least": "2"}, ["replicas", "1", "2"]),
        ({"command": f"{folder} --port 80"}, ["--port", "80"]),
        ({"command": f"{folder} --max-body 0"}, ["--max-body", "0"]),
        ({"command": "/missing"}, ["FOLDER", "/missing"]),
    ):
        with pytest.raises(ValueError, match=r".") as raised:
            app(given)
        assert named(str(raised.value), *facts), raised.value
