"""The command that translates lines, with a translator that writes capitals, as a user starts it."""

import gzip
import json
import os
import resource
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ...conftest import heed_ctrl_c
from ...facts import named
from ..bulk import fake_translator

LINE = [sys.executable, fake_translator.__file__]
LONG = "one two three four five six"
PATIENCE = 60  # seconds
LARGEST = 30_000  # bytes of a file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "model").touch()
    return tmp_path / "exported"


def run(*words: object, stdin: bytes = b"", status: int = 0, room: bool = True) -> "subprocess.CompletedProcess[bytes]":
    """Run the command to its end; without room it can write no large file."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))

    line = [*LINE, *map(str, words)]
    done = subprocess.run(line, input=stdin, capture_output=True, check=False, preexec_fn=None if room else limit)
    assert done.returncode == status, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return done


@contextmanager
def started(*words: object) -> Iterator["subprocess.Popen[bytes]"]:
    line = [*LINE, *map(str, words)]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(line, **pipes, preexec_fn=heed_ctrl_c) as process:
        try:
            yield process
        finally:
            process.kill()


def answer(process: "subprocess.Popen[bytes]", line: bytes) -> bytes:
    """Write a line, and return what comes before the next is written."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    process.stdin.flush()
    assert select.select([process.stdout], [], [], PATIENCE)[0], "no answer"
    return os.read(process.stdout.fileno(), 1000)


def test_lines(folder: Path) -> None:
    text = b"a\r\nb\xff\x00\n\n \nc\xe2\x80\xa8\x0b\x0c\x1c\xc2\x85\rd"
    done = run(folder, stdin=text)
    assert done.stdout == "A\nB\ufffd\x00\n\n \nC      D\n".encode()
    assert done.stderr == b"bnb-translate: 1 of 5 lines had bytes that are not UTF-8; U+FFFD in their place: 1\n"
    assert run(folder, stdin=b"").stdout == b""


@pytest.mark.parametrize("option", ["--flush", "--window=4000"])
def test_a_slow_pipe_gets_its_answers(folder: Path, option: str) -> None:
    with started(folder, option) as process:
        assert [answer(process, b"one\n"), answer(process, b"\n"), answer(process, b"t\nt\r\n")[:2]] == [
            b"ONE\n",
            b"\n",
            b"T\n",
        ]
        out, err = process.communicate(b"end", PATIENCE)
        assert out.endswith(b"END\n")
        assert (err, process.returncode) == (b"", 0)


def test_files(folder: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in.gz", tmp_path / "out.zst"
    source.write_bytes(gzip.compress(b"a\nb\n"))
    output.write_bytes(b"old")
    assert run(folder, "--input", source, "--output", output).stdout == b""
    assert run(folder, "--input", output).stdout == b"A\nB\n"
    run(folder, "--input", output, "--output", output)  # is read to its end before it is replaced
    assert run(folder, "--input", output).stdout == b"A\nB\n"


def test_several_files(folder: Path, tmp_path: Path) -> None:
    """Into a folder; a second run finds them there, and one with other options is refused."""
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"a\nb\xff\nc\n")
    (tmp_path / "in" / "b.gz").write_bytes(gzip.compress(f"{LONG}\nb\n".encode()))
    words = (folder, "--input", tmp_path / "in" / "*", "--output", tmp_path / "out")
    remarks = (
        b"bnb-translate: 1 of 5 lines had bytes that are not UTF-8; U+FFFD in their place: 1\n"
        b"bnb-translate: 1 of 5 lines could not be translated; an empty line stands for each; the first: b.gz, line "
        b"1: the text has 6 tokens, but the model reads at most 5\n"
    )
    for _ in range(2):
        assert run(*words, "--window", 2, status=1).stderr == remarks
        assert (tmp_path / "out" / "a.txt").read_bytes() == "A\nB\ufffd\nC\n".encode()
        assert gzip.decompress((tmp_path / "out" / "b.gz").read_bytes()) == b"\nB\n"
    error = run(*words, "--window", 3, status=1).stderr.decode()
    assert named(error, "bnb-translate", "--output", "window", "3", "2")
    (folder / "config.json").write_text("{ }", encoding="utf-8")
    assert named(run(*words, "--window", 2, status=1).stderr.decode(), "--output", "FOLDER")


def test_nbest_and_jsonl(folder: Path) -> None:
    listed = run(folder, "--nbest", 2, stdin=b"a\n\nb").stdout.decode().splitlines()
    assert listed == [
        *("0 ||| A ||| -0.250000", "0 ||| A1 ||| -1.000000"),
        *("1 |||  ||| -0.250000", "1 ||| 1 ||| -1.000000"),
        *("2 ||| B ||| -0.250000", "2 ||| B1 ||| -1.000000"),
    ]
    rows = [json.loads(line) for line in run(folder, "--nbest", 2, "--jsonl", stdin=b"a\nb c").stdout.splitlines()]
    assert [row["text"] for row in rows] == ["A", "B C"]
    assert [[each["text"] for each in row["alternatives"]] for row in rows] == [["A1"], ["B C1"]]
    assert rows[1]["tokens"] == ["B", "C"]


def test_too_long(folder: Path, tmp_path: Path) -> None:
    text = f"a\n{LONG}\nb\n".encode()
    reason = "line 2: the text has 6 tokens, but the model reads at most 5"
    remark = "bnb-translate: 1 of 3 lines could not be translated; {} stands for each"
    done = run(folder, "--output", tmp_path / "out", stdin=text, status=1)
    assert (tmp_path / "out").read_bytes() == b"A\n\nB\n"
    assert done.stderr.decode().splitlines() == [f"bnb-translate: {reason}", remark.format("an empty line")]
    for mode, shown in (("copy", LONG), ("empty", "")):
        done = run(folder, "--too-long", mode, stdin=text)
        assert done.stdout.decode() == f"A\n{shown}\nB\n"
        stands = "the source text" if mode == "copy" else "an empty line"
        assert done.stderr.decode() == f"{remark.format(stands)}; the first: {reason}\n"
    done = run(folder, "--jsonl", stdin=text, status=1)
    assert [json.loads(line).get("error") for line in done.stdout.splitlines()] == [None, reason[8:], None]


def test_progress(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"a\n" * 50)
    assert b"100%" in run(folder, "--input", tmp_path / "in", "--progress").stderr
    assert b"50 lines [" in run(folder, "--progress", stdin=b"a\n" * 50).stderr
    assert run(folder, stdin=b"a\n" * 50).stderr == b""


@pytest.mark.parametrize(("outputs", "shown"), [(["stderr"], True), (["stderr", "stdout"], False)])
def test_progress_at_a_terminal(folder: Path, outputs: Sequence[str], shown: bool) -> None:
    """Unless the text is shown there, too."""
    terminal, end = os.openpty()
    termios.tcsetwinsize(end, (24, 80))  # a bar needs some width
    streams = {"stdout": subprocess.DEVNULL, **dict.fromkeys(outputs, end)}
    done = subprocess.run([*LINE, str(folder)], input=b"a\n", check=True, timeout=PATIENCE, **streams)  # type: ignore[call-overload]
    assert done.returncode == 0
    os.write(end, b"end")
    seen = b""
    while not seen.endswith(b"end"):
        seen += os.read(terminal, 10_000)
    assert (b"1 lines [" in seen) == shown
    os.close(end)
    os.close(terminal)


def test_a_full_disk(folder: Path, tmp_path: Path) -> None:
    text = b"word\n" * 20_000
    for name in ("out", "out.zst"):
        source = text if name == "out" else os.urandom(LARGEST * 3).hex().encode()
        done = run(folder, "--output", tmp_path / name, stdin=source, status=1, room=False)
        said = f"bnb-translate: --output {tmp_path}/{name} cannot be written: [Errno 27] File too large\n"
        assert done.stderr.decode() == said
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]
    line = [*LINE, str(folder)]
    with open("/dev/full", "wb") as full:
        full_output = subprocess.run(line, input=text, stdout=full, stderr=subprocess.PIPE, check=False)
    assert full_output.returncode == 1
    said = "bnb-translate: standard output cannot be written: [Errno 28] No space left on device\n"
    assert full_output.stderr.decode() == said


def test_a_closed_pipe(folder: Path) -> None:
    """Ends as ``yes | head`` does."""
    command = f"yes word | {' '.join(LINE)} {folder} | head -n 1; echo ${{PIPESTATUS[1]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.stderr) == (b"WORD\n141\n", b"")


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_ctrl_c(folder: Path, tmp_path: Path, kind: str) -> None:
    options = ["--output", tmp_path / "out"] if kind == "file" else []
    with started(folder, *options) as process:
        if kind == "pipe":
            assert answer(process, b"one\n") == b"ONE\n"
        until = time.monotonic() + PATIENCE
        while kind == "file" and not list(tmp_path.glob(".partial-*")) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE) == (b"", b"")
        assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)  # the same for a shell
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


def test_errors_of_the_translator_are_its_own(folder: Path, tmp_path: Path) -> None:
    line = [*LINE, str(folder), "--output", str(tmp_path / "out")]
    done = subprocess.run(line, input=b"fail\n", capture_output=True, check=False)
    assert done.stderr.endswith(b"RuntimeError: out of memory\n")
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


def test_a_damaged_input(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in.gz").write_bytes(gzip.compress(b"a\n" * 1000)[:-4])
    done = run(folder, "--input", tmp_path / "in.gz", "--output", tmp_path / "out", status=1)
    assert done.stderr.startswith(f"bnb-translate: --input {tmp_path}/in.gz cannot be read: Compressed file".encode())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--window", "0"], "argument --window: must be at least 1, but is 0"),
        (["--nbest", "x"], "argument --nbest: invalid int value: 'x'"),
        (["--ctc-lm-weight", "nan"], "argument --ctc-lm-weight: must be finite, but is nan"),
        (["--flush", "--window", "5"], "argument --window: not allowed with argument --flush"),
    ],
)
def test_bad_usage(words: Sequence[str], said: str, folder: Path) -> None:
    done = run(folder, *words, status=2)
    assert done.stderr.decode().splitlines()[-1] == f"bnb-translate: error: {said}"


def test_bad_files(folder: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    done = run(missing, "--input", missing, "--output", missing / "out", status=1)
    assert done.stderr.decode().splitlines() == [
        f"bnb-translate: FOLDER must be a folder of an exported model, but there is none at {missing}; --input must be "
        f"a file, but nothing is at {missing}; --output must be a file in a folder that exists, but is {missing}/out"
    ]
    done = run(folder, "--input", folder, "--output", folder, status=1)
    assert b"--input must be a file, but a folder is at " in done.stderr
    assert f"--output must be a file in a folder that exists, but is {folder}\n".encode() in done.stderr
    done = run(folder, "--search", "none", "--ctc-beam", 3, "--ctc-token-bonus", 0, status=1)
    said = "bnb-translate: --search none must stand without --ctc-beam, --ctc-token-bonus\n"
    assert done.stderr.decode() == said
    (folder / "model").unlink()
    assert run(folder, status=1).stderr.decode() == f"bnb-translate: {folder} must have a model, but has none\n"


def test_closed_streams(folder: Path) -> None:
    command = f"{' '.join(LINE)} {folder} <&- >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    said = [f"--{name}put must be given where the standard {name}put is closed" for name in ("in", "out")]
    assert (done.stderr.decode(), done.returncode) == (f"bnb-translate: {'; '.join(said)}\n", 1)


def peak(folder: Path, lines: int) -> int:
    """Return the kilobytes that the command holds at most."""
    source, output, found = (folder / name for name in ("lines", "out", "peak"))
    source.write_bytes(b"".join(b"line %d of some words\n" % i for i in range(lines)))
    line = [*LINE, str(folder), "--input", str(source), "--output", str(output)]
    subprocess.run(line, env={**os.environ, "PEAK_FILE": str(found)}, check=True)
    assert output.read_bytes().count(b"\n") == lines
    return int(found.read_text())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(folder: Path) -> None:
    few, many = peak(folder, 10_000), peak(folder, 1_000_000)
    print(f"peak memory: {few:,} kB for 10,000 lines, {many:,} kB for 1,000,000")
    assert many < few + 2000
