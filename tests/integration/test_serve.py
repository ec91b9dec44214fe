"""``bnb-serve`` against clients: LibreTranslate's own, many at once, rude ones; and its end."""

import json
import random
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import httpx
import pytest
from libretranslatepy import LibreTranslateAPI

from ..unit.conftest import random_parameters  # noqa: F401  # a fixture
from ..unit.export.conftest import SENTENCES, trained  # noqa: F401  # a fixture
from ..unit.folder.conftest import exported, reseal  # noqa: F401  # fixtures
from . import forked
from .served import Served, served

Reseal = Callable[..., Path]
TEXTS = [*SENTENCES, "the cell. " * 8, "", "zzz 1", "Opens!"]
KEY = "a-key"
SECRET = "quite_secret"


@pytest.fixture(scope="module")
def folders(
    exported: dict[str, Path],  # noqa: F811
    reseal: Reseal,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Path]:
    """Two models of different languages."""
    place = tmp_path_factory.mktemp("folders")
    kinds = {"en": "ctc", "fr": "refining"}
    return [
        reseal(Path(shutil.copytree(exported[kind], place / language)), {}, source_lang=language, target_lang="de")
        for language, kind in kinds.items()
    ]


@pytest.fixture(scope="module")
def server(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("server")
    (place / "keys").write_text(f"# of a user\n{KEY}\nother\n", encoding="utf-8")
    limits = ["--max-body", 5000, "--body-timeout", 1, "--api-keys", place / "keys"]
    with served(place, *folders, *limits) as found:
        yield found
        found.end()
        written = found.log.read_text()
        assert len(written.splitlines()) == 1, written
        assert SECRET not in written


@pytest.fixture(scope="module")
def expected(folders: list[Path]) -> dict[str, list[str]]:
    """What ``bnb-translate`` writes for the texts, by language."""
    found = {}
    for folder in folders:
        done = forked.capture("bnb-translate", folder, stdin="".join(f"{text}\n" for text in TEXTS))
        assert done.returncode == 0, done.stderr
        found[folder.name] = done.stdout.removesuffix("\n").split("\n")
    assert len({text for texts in found.values() for text in texts}) > 8
    return found


def test_libretranslatepy(server: Served, expected: dict[str, list[str]]) -> None:
    client = LibreTranslateAPI(server.url, api_key=KEY)
    assert [language["code"] for language in client.languages()] == ["de", "en", "fr"]
    for language, texts in expected.items():
        assert [client.translate(text, language, "de") for text in TEXTS] == texts
    for changed, source, target, status in (
        ({"api_key": "wrong"}, "en", "de", 403),
        ({"api_key": None}, "en", "de", 401),
        ({}, "de", "en", 400),
        ({}, "en", "xx", 400),
    ):
        other = LibreTranslateAPI(server.url, **{"api_key": KEY, **changed})
        with pytest.raises(HTTPError) as refused:
            other.translate("the cell", source, target)
        assert refused.value.code == status
        assert list(json.loads(refused.value.read())) == ["error"]


def test_many_at_once(server: Served, expected: dict[str, list[str]]) -> None:
    """Texts, lists and all that the model says, at the same time: each gets its own."""
    headers = {"authorization": f"Bearer {KEY}"}

    def libre(language: str) -> None:
        body = {"q": TEXTS, "source": language, "target": "de"}
        answer = httpx.post(f"{server.url}translate", json=body, headers=headers, timeout=60)
        assert answer.json()["translatedText"] == expected[language]

    def one(language: str) -> None:
        place = random.randrange(len(TEXTS))
        body = {"texts": [TEXTS[place]], "source": language, "alignment": True, "canvas": place % 2 == 0}
        answer = httpx.post(f"{server.url}v1/translate", json=body, headers=headers, timeout=60)
        (row,) = answer.json()["translations"]
        assert row["text"] == expected[language][place]
        if "written" in row and language == "en":  # one pass, no search: the canvas has the text
            assert "".join(part["passes"][-1]["text"] for part in row["written"]).split() == row["text"].split()

    with ThreadPoolExecutor(16) as threads:
        jobs = [threads.submit(work, language) for _ in range(6) for work in (libre, one, one) for language in expected]
        for job in jobs:
            job.result()


def talk(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send bytes, and read until the server closes the connection or has nothing to say for a while."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            found = b""
            connection.settimeout(10)
            while not (b"\r\n\r\n" in found and found.rstrip().endswith((b"}", b"received."))):
                got = connection.recv(65536)
                if not got:
                    break
                found += got
        except (ConnectionError, TimeoutError):
            return b"" if not parts else found if "found" in locals() else b""
    return found


def head(path: bytes, kind: bytes, length: bytes) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n%s\r\n\r\n" % (path, kind, length)


def test_a_client_that_would_rather_speak_http_2(server: Served) -> None:
    """Gets its answer in HTTP/1.1: Java's own client offers the change with its first request."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"
    body = json.dumps({"texts": ["the cell"], "source": "en", "api_key": KEY}).encode()
    length = b"Content-Length: %d\r\n%s" % (len(body), offer)
    answer = talk(server.port, head(b"/v1/translate", b"application/json", length), body)
    assert answer.startswith(b"HTTP/1.1 200 ") and b'"text":' in answer


def rude_bodies(seed: int) -> Iterator[tuple[bytes, bytes]]:
    """Bodies with their types: a good one, damaged; values of wrong types; nesting; odd characters."""
    rng = random.Random(seed)
    good = json.dumps({"texts": [SECRET], "q": SECRET, "source": "en", "target": "de", "api_key": KEY}).encode()
    values: list[Any] = [
        None,
        1,
        -1,
        1e400,
        True,
        [],
        {},
        [[]],
        "",
        "\x00",
        "\u202e",
        "x" * 4000,
        [SECRET, 1],
        {"a": {"b": []}},
    ]
    names = ["texts", "q", "source", "target", "format", "alternatives", "search", "options", "glossary", "api_key"]
    kinds = [
        b"application/json",
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=a",
    ]
    while True:
        kind = rng.randrange(5)
        if kind == 0:
            damaged = bytearray(good)
            for _ in range(rng.randrange(1, 6)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            yield rng.choice(kinds), bytes(damaged)
        elif kind == 1:
            yield rng.choice(kinds), good[: rng.randrange(len(good))]
        elif kind == 2:
            body = {**json.loads(good), rng.choice(names): rng.choice(values)}
            yield rng.choice(kinds), json.dumps(body).encode()
        elif kind == 3:
            yield kinds[0], rng.choice([b"[", b'{"q":', b'{"texts":[', b'{"options":{"a":']) * rng.randrange(1, 400)
        else:
            yield rng.choice(kinds), bytes(rng.randrange(256) for _ in range(rng.randrange(300)))


def test_two_hundred_bad_requests(server: Served) -> None:
    """Each is answered, none by an error of the server; a good one is answered after each tenth, and at the end."""
    statuses = []
    for number, (kind, body) in zip(range(200), rude_bodies(1), strict=False):
        path = (b"/translate", b"/v1/translate")[number % 2]
        answer = talk(server.port, head(path, kind, b"Content-Length: %d" % len(body)), body)
        statuses.append(int(answer.split(b" ", 2)[1]))
        assert b"Traceback" not in answer and b"/" not in answer.partition(b"\r\n\r\n")[2].replace(b"application/", b"")
        if number % 20 == 0:
            good = {"texts": ["the cell"], "source": "en", "api_key": KEY}
            assert httpx.post(f"{server.url}v1/translate", json=good, timeout=30).status_code == 200
    assert set(statuses) <= {200, 400, 401, 403, 413, 415}
    assert statuses.count(400) > 100


def test_bodies_without_end(server: Served) -> None:
    """Too large ones, announced or not, get 413; slow ones 408; a head that does not end is cut off."""
    large = head(b"/translate", b"application/json", b"Content-Length: 100000000")
    piece = b"x" * 1_000_000
    assert talk(server.port, large, *[piece] * 100).startswith(b"HTTP/1.1 413 ")
    chunked = head(b"/translate", b"application/json", b"Transfer-Encoding: chunked")
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece)] * 20
    assert talk(server.port, chunked, *chunks, b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    assert talk(server.port, chunked, b"zz\r\nbroken\r\n").startswith(b"HTTP/1.1 400 ")
    slow = head(b"/v1/translate", b"application/json", b"Content-Length: 1000")
    begun = time.monotonic()
    assert talk(server.port, slow, b"{", b'"', pause=0.2).startswith(b"HTTP/1.1 408 ")
    assert talk(server.port, b"POST /translate HT", b"TP/1.1\r\nHost", b": x\r\n", pause=0.4) == b""
    assert talk(server.port, b"") == b""
    assert 2 < time.monotonic() - begun < 30
    assert httpx.get(f"{server.url}health").json() == {"status": "ok"}


def test_the_end_under_load(folders: list[Path], tmp_path: Path) -> None:
    """Every request on an open connection is answered, by its translation or by 503; afterwards nobody listens."""
    seen: list[int] = []
    ends: list[type[Exception]] = []

    def ask(url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while True:
                try:
                    answer = client.post("v1/translate", json={"texts": ["the cell opens"], "source": "en"})
                except httpx.HTTPError as error:
                    ends.append(type(error))
                    return
                assert answer.status_code == 503 or answer.json()["translations"][0]["text"]
                seen.append(answer.status_code)

    with served(tmp_path, folders[0]) as server, ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(ask, server.url) for _ in range(8)]
        time.sleep(1)
        server.end()
        for job in jobs:
            job.result()
    assert len(seen) > 8 and 200 in seen and set(seen) <= {200, 503}
    assert ends == [httpx.ConnectError] * 8, "a request that the server had taken got no answer"


def test_a_full_queue(folders: list[Path], tmp_path: Path) -> None:
    """503 with Retry-After for what does not fit; all else is translated."""
    limits = ["--max-queue", 8, "--max-texts", 4, "--batch-tokens", 8]
    with served(tmp_path, folders[0], *limits) as server:

        def ask(_: int) -> httpx.Response:
            return httpx.post(f"{server.url}v1/translate", json={"texts": ["the cell"] * 4}, timeout=60)

        with ThreadPoolExecutor(32) as threads:
            answers = list(threads.map(ask, range(48)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 503}
        assert {answer.headers.get("retry-after") for answer in answers} == {None, "1"}
        server.end()


def test_one_line_says_what_is_wrong(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for words, said in (
        (
            ["x", "--port", "70000", "--max-texts", "9", "--max-queue", "8", "--timeout", "0"],
            "FOLDER must be a folder of",
        ),
        ([folders[0], folders[0]], "each FOLDER must have languages of its own, but several have en-de"),
        ([folders[0], "--api-keys", tmp_path / "empty"], "must have a key on a line of its own, but has none"),
        ([folders[0], "--host", "192.0.2.1", "--port", 1], "--host 192.0.2.1 --port 1: cannot be listened on"),
    ):
        done = forked.capture("bnb-serve", *words)
        assert done.returncode == 1
        assert said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    done = forked.capture("bnb-serve", "x", "--port", "70000", "--max-texts", "9", "--max-queue", "8", "--timeout", "0")
    for said in ("--port must be at most 65535, but is 70000", "--max-queue, 8, but is 9", "--timeout must be above 0"):
        assert said in done.stderr
