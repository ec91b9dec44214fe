"""Commands on a Ray cluster of several nodes on this machine: a node is killed, and so is the command."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bnb_fairseq.bulk.kept import Part, write_part

from ..facts import named
from . import forked
from .conftest import Setting
from .test_model_folder import Place, export, run

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs pip install 'bnb_fairseq[ray]'")
pytestmark = pytest.mark.slow

STORE = 100 << 20  # bytes of a node's object store
WINDOW = ("--window", 2)  # so small that hundreds of shards are to be done when a few are
SECONDS = 600  # after which a process that makes no progress is given up


@pytest.fixture(scope="module")
def head() -> Iterator[Any]:
    """A head that computes nothing."""
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    yield made
    made.shutdown()


@pytest.fixture
def cluster(head: Any) -> Any:
    """The head, and two nodes of one processor each, of which a test may kill one."""
    while len(head.worker_nodes) < 2:
        head.add_node(num_cpus=1, object_store_memory=STORE)
    return head


def kill_node(cluster: Any) -> None:
    cluster.remove_node(sorted(cluster.worker_nodes, key=id)[0], allow_graceful=False)


@pytest.fixture(scope="module")
def folder(setting: Setting, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Place(checkpoint, setting.data_bin, setting.text / "test.en")
    return export(place, tmp_path_factory.mktemp("model") / "en-de")


@pytest.fixture(scope="module")
def texts(setting: Setting, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Input files, and what the command makes of each of them alone."""
    place = tmp_path_factory.mktemp("texts")
    lines = (setting.text / "test.en").read_bytes().splitlines(keepends=True)
    inputs, outputs = place / "in", place / "plain"
    inputs.mkdir()
    outputs.mkdir()
    (inputs / "one.txt").write_bytes(b"".join(lines))
    (inputs / "two.txt").write_bytes(b"\n\xff\n" + b"".join(reversed(lines[:151])).rstrip(b"\n"))
    (inputs / "none.txt").write_bytes(b"")
    for path in inputs.iterdir():
        run("bnb-translate", folder, "--input", path, "--output", outputs / path.name)
    return inputs, outputs


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def words(folder: Path, inputs: Path, output: Path, cluster: Any, *options: object) -> list[str]:
    place = ("--input", inputs / "*.txt", "--output", output)
    where = ("--engine-cluster", "ray", "--address", cluster.address)
    return list(map(str, ["bnb-translate", folder, *place, *where, *WINDOW, *options]))


def shards(output: Path, name: str = "*") -> list[Path]:
    """Shards of one input file or of all that are kept."""
    return [path for path in output.glob(f".shards/{name}.lines/0*") if path.is_file()]


def wait_for(reached: Callable[[], bool], is_alive: Callable[[], bool], log: Path) -> None:
    give_up = time.monotonic() + SECONDS
    while not reached():
        assert is_alive(), f"ended too early:\n{log.read_text(encoding='utf-8')[-5000:]}"
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_the_command_is_killed(folder: Path, texts: tuple[Path, Path], cluster: Any, tmp_path: Path) -> None:
    output, log = tmp_path / "out", tmp_path / "log"
    line = words(folder, texts[0], output, cluster)
    process = forked.start(line, tmp_path, log)
    wait_for(lambda: len(shards(output, "one.txt")) > 9, process.is_alive, log)  # whichever file is read first
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert files(output) == {}
    kept = min(shards(output, "one.txt"))
    head, _, body = kept.read_bytes().partition(b"\n")
    about = json.loads(head)
    write_part(kept, about["identity"], Part(about["about"], body.replace(b"\n", b" marked\n", 1)))
    expected = files(texts[1])
    first = int(kept.name)
    lines = expected["one.txt"].split(b"\n")
    lines[first] += b" marked"
    expected["one.txt"] = b"\n".join(lines)
    for _ in range(2):  # the second time all is there
        done = forked.capture(*line)
        assert done.returncode == 0, done.stderr[-5000:]
        assert files(output) == expected
        assert "1 of 453 lines had bytes that are not UTF-8" in done.stderr


def test_errors_are_one_line(folder: Path, texts: tuple[Path, Path], cluster: Any, tmp_path: Path) -> None:
    broken = tmp_path / "in"
    broken.mkdir()
    (broken / "cut.txt.gz").write_bytes(b"\x1f\x8b\x08")
    line = words(folder, broken, tmp_path / "out", cluster)
    line[line.index("--input") + 1] = str(broken / "*")
    done = forked.capture(*line)
    assert done.returncode == 1
    assert named(done.stderr.splitlines()[-1], "bnb-translate", "--input", broken / "cut.txt.gz", "cannot be read")
    line = words(folder, texts[0], tmp_path / "other", cluster, "--engine", "onnx")
    done = forked.capture(*line)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert named(done.stderr.splitlines()[-1], "bnb-translate", folder, "ONNX")
    done = forked.capture(*words(folder, texts[0], tmp_path / "third", cluster, "--device", "cuda"))
    assert done.returncode == 1
    assert named(done.stderr.splitlines()[-1], "bnb-translate", "--device", "1 GPU")


def test_a_node_is_killed(folder: Path, texts: tuple[Path, Path], cluster: Any, tmp_path: Path) -> None:
    output, log = tmp_path / "out", tmp_path / "log"
    process = forked.start(words(folder, texts[0], output, cluster), tmp_path, log)
    wait_for(lambda: len(shards(output)) > 9, process.is_alive, log)
    assert files(output) == {}
    kill_node(cluster)
    process.join(SECONDS)
    assert process.exitcode == 0, log.read_text(encoding="utf-8")[-5000:]
    assert files(output) == files(texts[1])
    assert shards(output) == []


def test_a_distillation_is_killed_and_then_a_node(
    setting: Setting, checkpoint: Path, cluster: Any, tmp_path: Path
) -> None:
    def written(name: str) -> dict[str, bytes]:
        folder = tmp_path / name
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def shards() -> list[Path]:
        return list((tmp_path / "out" / "shards").glob("0*"))

    given = ["bnb-distill", setting.data_bin, "--teacher", checkpoint, "--subset", "test", "--shard-size", 1, "--cpu"]
    run(*given, "--output", tmp_path / "plain")
    line = [*given, "--output", tmp_path / "out", "--engine-cluster", "ray", "--address", cluster.address]
    words, logs = list(map(str, line)), (tmp_path / "first.log", tmp_path / "second.log")
    process = forked.start(words, tmp_path, logs[0])
    wait_for(lambda: len(shards()) > 5, process.is_alive, logs[0])
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "out" / "data-bin").exists()
    kept = {path: path.stat().st_mtime_ns for path in shards()}
    logs[1].touch()
    process = forked.start(words, tmp_path, logs[1])
    # Until then, processes of the killed command may have finished some more.
    wait_for(lambda: "were done before" in logs[1].read_text(encoding="utf-8"), process.is_alive, logs[1])
    before = len(shards())
    wait_for(lambda: len(shards()) > before + 5, process.is_alive, logs[1])
    assert not (tmp_path / "out" / "data-bin").exists()
    kill_node(cluster)
    process.join(SECONDS)
    said = logs[1].read_text(encoding="utf-8")
    assert process.exitcode == 0, said[-5000:]
    assert "of 300 shards were done before" in said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert written("out") == written("plain")
    assert {"data-bin/test.en-de.de.bin", "test.de"} <= written("out").keys()
