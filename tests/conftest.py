"""Fixtures for all tiers: device, real text, small BERTs, and fairseq's commands."""

import gc
import lzma
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SMALL_DATA = ROOT / "examples" / "techdoc-en-de" / "data"

Command = Callable[..., str]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", choices=["cpu", "cuda"], help="where models run")


def pytest_collection_finish() -> None:
    """Keep the libraries' objects, a million, from being searched for garbage: a tenth of the unit tests' time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    name = str(request.config.getoption("--device"))
    if name == "cuda":
        import torch

        if not torch.cuda.is_available():
            pytest.skip("--device cuda: this machine has no GPU")
    return name


@pytest.fixture(scope="session", autouse=True)
def shared_traces() -> Iterator[None]:
    """Let torch trace equal networks once a process, which takes it seconds: tests write one graph in several forms."""
    from bnb_fairseq.graph import writing

    from .traces import once

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_trace", once(writing._trace))
        yield


@pytest.fixture(scope="session")
def small_data() -> Callable[[str, int], list[tuple[str, str]]]:
    """Read the first pairs of a part of the data set that the repository ships."""

    def read(part: str, pairs: int) -> list[tuple[str, str]]:
        with lzma.open(SMALL_DATA / f"{part}.tsv.xz", "rt", encoding="utf-8") as lines:
            rows = [line.rstrip("\n").split("\t") for line in lines]
        return [(row[0], row[1]) for row in rows[:pairs]]

    return read


@pytest.fixture(scope="session")
def fairseq(device: str) -> Command:
    """Run one of fairseq's commands in a process of its own, forked from one that has imported the libraries."""
    from .integration import forked

    def run(
        command: str,
        *arguments: str | Path,
        stdin: str | bytes = b"",
        fails: bool = False,
        plugin: bool = True,
        cwd: Path | None = None,
        task: str = "translation_bnb",
    ) -> str:
        line = [f"fairseq-{command}", *map(str, arguments)]
        if plugin:
            line += ["--user-dir", str(ROOT / "bnb_fairseq"), "--task", task]
            if command != "preprocess" and device == "cpu":
                line.append("--cpu")
        done = forked.capture(*line, stdin=stdin, cwd=cwd)
        output = f"{done.stdout}\n{done.stderr}"
        assert (done.returncode != 0) == fails, f"{line} ended with {done.returncode}:\n{output[-6000:]}"
        return output

    return run


def detokenised(output: str) -> dict[int, str]:
    """Collect the ``D-`` lines of fairseq-generate and fairseq-interactive by sentence number."""
    lines = [line[2:].split("\t") for line in output.splitlines() if line.startswith("D-")]
    return {int(number): text for number, _, text in lines}


@pytest.fixture(scope="session")
def translations() -> Callable[[str], dict[int, str]]:
    return detokenised


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def write() -> Callable[[Path, Sequence[str]], Path]:
    return write_lines


def heed_ctrl_c() -> None:
    """Let a child end on Ctrl-C even where the tests run in the background, whose children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
