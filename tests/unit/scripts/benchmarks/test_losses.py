"""The benchmark of the losses: that it runs the losses it names, its options and its table."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

TINY = ["--device", "cpu", "--sentences", "3", "--positions", "6", "--vocabulary", "11", "--repetitions", "2"]
TINY += ["--width", "4"]


@pytest.fixture(scope="module")
def benchmark(load_script: Callable[..., ModuleType]) -> ModuleType:
    return load_script("losses", "scripts/benchmarks")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_losses_are_what_they_are_called(dtype: str, benchmark: ModuleType) -> None:
    """Ours and torch's are the same; the others are at most as large: the target's order is one alignment of many."""
    batch = benchmark.make_batch(benchmark.parse([*TINY, "--dtype", dtype]))
    assert batch.logits.dtype == getattr(torch, dtype)
    values = {name: float(loss(batch.logits).detach()) for name, loss in benchmark.make_losses(batch).items()}
    for name, torchs in benchmark.TORCHS.items():
        assert values[name] == pytest.approx(values[torchs], rel=1e-5)
    assert values["AXE"] < values["cross-entropy"]
    assert values["OAXE"] < values["cross-entropy"]
    assert values["CTC"] != pytest.approx(values["cross-entropy"], rel=0.01)


def test_a_run_has_time_memory_and_gradients(benchmark: ModuleType) -> None:
    """40 MB that the loss holds for a moment are in the peak, and not in the next one's."""
    batch = benchmark.make_batch(benchmark.parse(TINY))

    def wasteful(logits: benchmark.LazyLogits) -> torch.Tensor:  # type: ignore[name-defined]
        torch.ones(10_000_000)
        total: torch.Tensor = logits.whole().sum()
        return total

    measured = benchmark.run(wasteful, batch.logits, "cpu")
    assert 38e6 < measured.forward <= measured.both < 80e6
    assert measured.seconds > 0
    assert [tuple(gradient.shape) for gradient in measured.gradients] == [(18, 4), (11, 4), (11,)]
    assert benchmark.run(lambda logits: logits.whole().sum(), batch.logits, "cpu").both < 20e6


def test_largest_difference(benchmark: ModuleType) -> None:
    exact = torch.tensor([1.0, -4.0]), torch.tensor([0.5])
    assert benchmark.largest_difference((torch.tensor([1.0, -3.0]), torch.tensor([0.6])), exact) == pytest.approx(0.25)


def test_command(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["losses.py", *TINY, "--threads", str(torch.get_num_threads())])
    benchmark.main()
    printed = capsys.readouterr()
    assert "CPU " in printed.out
    assert "3 sentences of 6 canvas positions, 11 words, width 4, float32; 2 repetitions" in printed.out
    rows = [line.strip("| ").split(" | ") for line in printed.out.splitlines() if line.startswith("| ")]
    names = ["CTC (torch)", "CTC", "cross-entropy (torch)", "cross-entropy", "AXE", "OAXE"]
    assert [row[0] for row in rows[2:]] == names
    assert [row[2] for row in rows[2:] if "torch" in row[0]] == ["1.00", "1.00"]
    assert all(float(row[5]) < 1e-5 for row in rows[2:] if row[0] in benchmark.TORCHS)
    assert "round 2 of 2" in printed.err


@pytest.mark.parametrize(
    ("option", "least"),
    [("sentences", 1), ("positions", 2), ("width", 1), ("repetitions", 1), ("threads", 1), ("vocabulary", 2)],
)
def test_options_out_of_range(
    option: str, least: int, benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        benchmark.parse(["--device", "cpu", f"--{option}", str(least - 1)])
    assert f"--{option} must be at least {least}, but is {least - 1}" in capsys.readouterr().err


def test_a_gpu_is_needed_for_cuda(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        benchmark.parse(["--device", "cuda"])
    assert "--device cuda needs a GPU, but torch sees none" in capsys.readouterr().err
