"""The benchmark of the losses: its data, that it runs the losses it names, its options and its table."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

TINY = ["--device", "cpu", "--sentences", "3", "--tokens", "5", "--vocabulary", "11", "--repetitions", "2"]


@pytest.fixture(scope="module")
def benchmark(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmark_losses")


def test_sample(benchmark: ModuleType) -> None:
    """All sentences are of full length, or of different ones on demand; the seed decides."""
    full, random, again, other = (
        benchmark.make_sample(benchmark.parse([*TINY, *arguments]))
        for arguments in ([], ["--random-lengths"], ["--random-lengths"], ["--random-lengths", "--seed", "2"])
    )
    assert full.logits.shape == (15, 11)
    assert full.logits.requires_grad
    assert full.logits.dtype == torch.float32
    assert full.positions.all()
    assert 3 <= len(random.logits) == int(random.positions.sum()) < 15
    assert torch.equal(random.logits, again.logits)
    assert torch.equal(random.targets, again.targets)
    assert random.logits.shape != other.logits.shape or not torch.equal(random.logits, other.logits)
    assert int(full.targets.min()) > benchmark.BLANK


@pytest.mark.parametrize("arguments", [[], ["--random-lengths"]])
def test_losses_are_what_they_are_called(arguments: list[str], benchmark: ModuleType) -> None:
    """Cross-entropy in two ways; the others are at most as large, since the order of the target is one alignment."""
    sample = benchmark.make_sample(benchmark.parse([*TINY, *arguments]))
    losses = benchmark.make_losses(sample)
    values = {name: float(loss(sample.logits).detach()) for name, loss in losses.items()}
    targets = sample.targets[sample.positions]
    plain = F.cross_entropy(sample.logits, targets, reduction="sum")
    assert values[benchmark.REFERENCE] == pytest.approx(float(plain))
    smoothed = values.pop("label-smoothed cross-entropy (torch)")
    assert values["label-smoothed cross-entropy"] == pytest.approx(smoothed)
    assert values["AXE"] < smoothed
    assert list(values)[-2:] == ["AXE", "OAXE"]
    for loss in losses.values():
        (gradient,) = torch.autograd.grad(loss(sample.logits), sample.logits)
        assert gradient.abs().sum() > 0


def test_table(benchmark: ModuleType) -> None:
    """The median, half the range over the median, and the ratio of the medians."""
    seconds = {benchmark.REFERENCE: [0.2, 0.1, 0.3], "AXE": [0.5, 0.5, 0.6]}
    assert benchmark.table(seconds).splitlines()[2:] == [
        "| cross-entropy (torch) | 200.0 ±50% | 1.00 |",
        "| AXE | 500.0 ±10% | 2.50 |",
    ]


def test_command(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark_losses.py", *TINY, "--threads", str(torch.get_num_threads())])
    benchmark.main()
    printed = capsys.readouterr()
    assert "CPU " in printed.out
    assert "3 sentences of 5 tokens (full length: 15 positions), 11 words, float32; 2 repetitions" in printed.out
    assert [line.split(" | ")[0] for line in printed.out.splitlines() if line.startswith("| ")][2:] == [
        "| cross-entropy (torch)",
        "| label-smoothed cross-entropy (torch)",
        "| label-smoothed cross-entropy",
        "| AXE",
        "| OAXE",
    ]
    assert "repetition 2 of 2" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sentences", "0"], "--sentences must be at least 1, but is 0"),
        (["--tokens", "-1"], "--tokens must be at least 1, but is -1"),
        (["--repetitions", "0"], "--repetitions must be at least 1, but is 0"),
        (["--threads", "0"], "--threads must be at least 1, but is 0"),
        (["--vocabulary", "1"], "--vocabulary must be at least 2, but is 1"),
    ],
)
def test_options_out_of_range(
    arguments: list[str], message: str, benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        benchmark.parse(["--device", "cpu", *arguments])
    assert message in capsys.readouterr().err


def test_a_gpu_is_needed_for_cuda(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        benchmark.parse(["--device", "cuda"])
    assert "--device cuda needs a GPU, but torch sees none" in capsys.readouterr().err
