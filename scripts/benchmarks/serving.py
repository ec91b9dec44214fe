r"""Measure bnb-serve under load: requests/s, times, wrong texts, a queue that is too long, and its end.

    python scripts/benchmarks/serving.py MODEL --sentences test.en --clients 1 16 64 --seconds 60

Each client sends one sentence, reads its answer, and sends the next on the same connection. bnb-translate translates
the same sentences first: its texts are the expected ones, and its speed is compared with. Then as many clients ask as
4 queues hold, and at last SIGTERM comes while clients ask.

The clients are one program, which takes its share of the processor cores. With --pinned it has the last core to itself:
bnb-serve and bnb-translate run on the others.
"""

import argparse
import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bnb_fairseq.evaluation.machine import describe_machine
from bnb_fairseq.evaluation.markdown import table

COMMAND = (sys.executable, "-m", "bnb_fairseq.cli.serve")
TRANSLATE = (sys.executable, "-m", "bnb_fairseq.cli.translate")
HEAD = ["clients", "requests/s", "of bnb-translate", "p50 ms", "p95 ms", "p99 ms"]
HEAD += ["server's CPU ms", "clients' CPU ms", "other texts", "answers"]  # CPU time of a request
VERSIONS = ("torch", "onnxruntime", "numpy", "starlette", "uvicorn")
WARM_UP = 2.0  # seconds
LINES = 4000  # that bnb-translate translates at least, some of them several times
OVERLOAD = 4  # times the queue
LOST = "lost"  # a request without answer
REFUSED = "refused"  # a connection that nobody took


@dataclass
class Seen:
    """What clients saw.

    Attributes:
        seconds: of each answer with a translation.
        statuses: numbers of answers by status.
        wrong: answers with another text than the expected one.
        different: sentences that had such an answer.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    different: set[str] = field(default_factory=set)

    def quantile(self, share: float) -> float:
        """Return the time within which this share of answers came, in milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


@dataclass
class Running:
    """A server.

    Attributes:
        process: the process.
        port: where it listens.
        source: language of its sentences.
        target: language of its translations.
    """

    process: "subprocess.Popen[str]"
    port: int
    source: str
    target: str

    def memory(self) -> int:
        """Return the memory in use, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) // 1024

    def cpu(self) -> float:
        """Return the seconds of CPU used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Bulk:
    """What bnb-translate did.

    Attributes:
        texts: the translation of each sentence.
        speed: sentences per second, without the start.
        cpu: seconds of CPU for a sentence, without the start.
    """

    texts: dict[str, str]
    speed: float
    cpu: float


def pin(cores: Collection[int]) -> None:
    """Run this process, and those that it starts, on some cores only; none: on any."""
    if cores:
        os.sched_setaffinity(0, cores)


def translate_all(folder: Path, sentences: Sequence[str], options: Sequence[str], cores: Collection[int]) -> Bulk:
    """Translate with bnb-translate.

    Args:
        folder: the model folder.
        sentences: all different.
        options: of bnb-translate.
        cores: see ``pin``.

    Returns:
        What it did. A window has each sentence once.
    """
    times = -(-LINES // len(sentences))
    with tempfile.TemporaryDirectory() as name:
        source, output = Path(name, "source"), Path(name, "output")
        line = [*TRANSLATE, str(folder), "--input", str(source), "--output", str(output)]
        line += ["--window", str(len(sentences)), *options]
        used = []
        for lines in (sentences[:1], [*sentences] * times):
            source.write_text("".join(f"{sentence}\n" for sentence in lines), encoding="utf-8")
            begun, cpu = time.perf_counter(), sum(os.times()[2:4])
            subprocess.run(line, check=True, preexec_fn=lambda: pin(cores))
            used.append((time.perf_counter() - begun, sum(os.times()[2:4]) - cpu))
        texts = output.read_text(encoding="utf-8").split("\n")[: len(sentences)]
    seconds, cpu = (end - start for start, end in zip(*used, strict=True))
    count = times * len(sentences)
    return Bulk(dict(zip(sentences, texts, strict=True)), count / seconds, cpu / count)


@contextmanager
def running(folder: Path, options: Sequence[str], cores: Collection[int]) -> Iterator[Running]:
    """Start a server, and kill it at the end if it still runs."""
    languages = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    line = [*COMMAND, str(folder), "--port", "0", *options]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: pin(cores))
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        found = re.search(r"listening on http://\S+:(\d+)/", said)
        if found is None:
            raise SystemExit(said + process.stderr.read())
        yield Running(process, int(found[1]), languages["source_lang"], languages["target_lang"])
    finally:
        process.kill()
        process.wait()


async def client(
    server: Running, sentences: Iterator[str], expected: Mapping[str, str], until: float, seen: Seen
) -> None:
    """Send sentences one after another until a time, by ``time.perf_counter``, or until the server is gone."""
    while time.perf_counter() < until:
        try:
            streams = await asyncio.open_connection("127.0.0.1", server.port)
        except OSError:
            seen.statuses[REFUSED] += 1
            return
        try:
            while time.perf_counter() < until and await one_request(streams, server, next(sentences), expected, seen):
                pass
        except (OSError, asyncio.IncompleteReadError):
            seen.statuses[LOST] += 1
        finally:
            streams[1].close()


async def one_request(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    server: Running,
    sentence: str,
    expected: Mapping[str, str],
    seen: Seen,
) -> bool:
    """Send a sentence and read its answer; return whether the connection stays open."""
    reader, writer = streams
    body = json.dumps({"q": sentence, "source": server.source, "target": server.target}).encode()
    begun = time.perf_counter()
    writer.write(b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").lower()
    length = re.findall(r"content-length: (\d+)", head)
    found = json.loads(await reader.readexactly(int(length[0])))
    status = head.split(" ", 2)[1]
    seen.statuses[status] += 1
    if status == "200":
        seen.seconds.append(time.perf_counter() - begun)
        if found["translatedText"] != expected[sentence]:
            seen.wrong += 1
            seen.different.add(sentence)
    elif status == "503":
        await asyncio.sleep(0.05)
    return "connection: close" not in head


async def load(
    server: Running, clients: int, seconds: float, expected: Mapping[str, str], stop_after: float | None = None
) -> Seen:
    """Let clients ask.

    Args:
        server: the server.
        clients: how many.
        seconds: how long.
        expected: the translation of each sentence.
        stop_after: seconds after which SIGTERM is sent; None: it is not.

    Returns:
        What they saw.
    """
    seen, sentences = Seen(), itertools.cycle(expected)
    until = time.perf_counter() + seconds
    tasks = [asyncio.create_task(client(server, sentences, expected, until, seen)) for _ in range(clients)]
    if stop_after is not None:
        await asyncio.sleep(stop_after)
        server.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*tasks)
    return seen


def counts(seen: Seen) -> str:
    """Return the numbers of answers by status."""
    return ", ".join(f"{number:,} x {status}" for status, number in sorted(seen.statuses.items()))


def measure(folder: Path, bulk: Bulk, arguments: argparse.Namespace, cores: Collection[int]) -> list[list[str]]:
    """Measure a server with each number of clients: rows of the table."""
    rows = []
    with running(folder, arguments.serve, cores) as server:
        asyncio.run(load(server, 4, WARM_UP, bulk.texts))
        for clients in arguments.clients:
            used, own = server.cpu(), time.process_time()
            seen = asyncio.run(load(server, clients, arguments.seconds, bulk.texts))
            used, own = server.cpu() - used, time.process_time() - own
            answers = sum(seen.statuses.values())
            speed = len(seen.seconds) / arguments.seconds
            times = [f"{seen.quantile(share):.0f}" for share in (0.5, 0.95, 0.99)]
            cpu = [f"{1000 * each / max(answers, 1):.2f}" for each in (used, own)]
            wrong = f"{seen.wrong:,} ({len(seen.different):,} sentences)"
            row = [str(clients), f"{speed:.0f}", f"{speed / bulk.speed:.2f}", *times, *cpu, wrong, counts(seen)]
            rows.append(row)
    return rows


def overload(folder: Path, expected: Mapping[str, str], arguments: argparse.Namespace, cores: Collection[int]) -> str:
    """Let as many clients ask as four queues hold: a sentence about it."""
    queue = arguments.queue
    options = [*arguments.serve, "--max-queue", str(queue), "--max-texts", str(min(queue, 200))]
    with running(folder, options, cores) as server:
        asyncio.run(load(server, 4, WARM_UP, expected))
        before = server.memory()
        seen = asyncio.run(load(server, OVERLOAD * queue, arguments.seconds / 2, expected))
        middle = server.memory()
        again = asyncio.run(load(server, OVERLOAD * queue, arguments.seconds / 2, expected))
        after = server.memory()
        alive = server.process.poll() is None
    memory = f"memory {before:,} MB before, {middle:,} MB in the middle, {after:,} MB at the end"
    clients = f"{OVERLOAD * queue:,} clients, a queue of {queue:,} texts"
    return f"{clients}: {counts(seen)}; then {counts(again)}; {memory}; the server {'runs' if alive else 'has ended'}."


def the_end(folder: Path, expected: Mapping[str, str], arguments: argparse.Namespace, cores: Collection[int]) -> str:
    """Send SIGTERM while 16 clients ask: a sentence about it."""
    with running(folder, arguments.serve, cores) as server:
        seen = asyncio.run(load(server, 16, 60.0, expected, stop_after=WARM_UP))
        status = server.process.wait(60)
    return f"SIGTERM while 16 clients ask: {counts(seen)}; exit status {status}."


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder")
    parser.add_argument("--sentences", type=Path, required=True, metavar="FILE", help="source sentences, one a line")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64], metavar="N", help="numbers of clients")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="time of each level (default: 60)")
    parser.add_argument("--queue", type=int, default=64, metavar="N", help="queue of the overload (default: 64 texts)")
    text = "give the clients the last core, and bnb-serve and bnb-translate the others"
    parser.add_argument("--pinned", action="store_true", help=text)
    text = "option of bnb-serve, as --serve=--batches=2; may be repeated"
    parser.add_argument("--serve", action="append", default=[], metavar="OPTION", help=text)
    text = "option of bnb-translate, such as --translate=--threads=1; may be repeated"
    parser.add_argument("--translate", action="append", default=[], metavar="OPTION", help=text)
    arguments = parser.parse_args()
    lines = arguments.sentences.read_text(encoding="utf-8").splitlines()
    sentences = list(dict.fromkeys(line for line in lines if line.strip()))
    *cores, last = sorted(os.sched_getaffinity(0)) if arguments.pinned else [0]
    if arguments.pinned and not cores:
        parser.error("--pinned needs at least 2 cores, but there is 1")
    pin([last] if cores else [])
    bulk = translate_all(arguments.model, sentences, arguments.translate, cores)
    machine = ", ".join(f"{name} {value}" for name, value in describe_machine("cpu", VERSIONS).items())
    where = f"; {len(cores)} core(s), and one for the clients" if cores else ""
    speed = f"{bulk.speed:.0f} sentences/s, {1000 * bulk.cpu:.2f} ms of CPU each"
    print(f"{machine}{where}; {len(sentences):,} sentences; bnb-translate: {speed}\n", flush=True)
    print(table([HEAD, *measure(arguments.model, bulk, arguments, cores)]), flush=True)
    print(f"\n{overload(arguments.model, bulk.texts, arguments, cores)}", flush=True)
    print(f"\n{the_end(arguments.model, bulk.texts, arguments, cores)}", flush=True)


if __name__ == "__main__":
    main()
