"""``bnb-serve`` in a process of its own, as a user starts it."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NamedTuple

from . import forked

PATIENCE = 120  # seconds for a start on a busy machine


class Served(NamedTuple):
    """A server: its address, its process, and the file of what it writes."""

    url: str
    process: ForkServerProcess
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    def end(self) -> None:
        """Send SIGTERM; the server ends with status 0."""
        pid = self.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        self.process.join(PATIENCE)
        assert self.process.exitcode == 0, self.log.read_text()


@contextmanager
def served(place: Path, *words: object) -> Iterator[Served]:
    """Start a server of folders and options; a free port is its own choice."""
    log = place / "serve.log"
    environment = {**os.environ, "PYTHONPATH": str(forked.ROOT)}
    line = ["bnb-serve", *map(str, words), "--port", "0"]
    process = forked.start(line, place, log, environment=environment)
    try:
        yield Served(_wait(process, log), process, log)
    finally:
        if process.is_alive():
            process.kill()
        process.join()


def _wait(process: ForkServerProcess, log: Path) -> str:
    for _ in range(PATIENCE * 20):
        found = re.search(r"listening on (http://\S+)", log.read_text() if log.exists() else "")
        if found:
            return found[1]
        assert process.is_alive(), log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")
