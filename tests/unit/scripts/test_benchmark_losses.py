"""The benchmark of the losses: its data, that it runs the losses it names, its options and its table."""

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from bnb_fairseq.criterions.glancing import Teacher
from bnb_fairseq.modules.canvas import Canvas

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


@pytest.fixture(params=[[], ["--random-lengths"], ["--ctc-upsample", "1.5", "--seed", "3"]])
def canvases(request: pytest.FixtureRequest, benchmark: ModuleType) -> Any:
    return benchmark.make_canvas_sample(benchmark.parse([*TINY, *request.param]))


def test_canvas_sample(benchmark: ModuleType) -> None:
    """The targets are those of the token losses; every token has two positions, or as many as are asked for."""
    full, random, narrow = (
        benchmark.make_canvas_sample(benchmark.parse([*TINY, *arguments]))
        for arguments in ([], ["--random-lengths"], ["--ctc-upsample", "1.5"])
    )
    assert full.predicted.shape == (30, 11)
    assert full.guessed.shape == (10, 3, 11)
    assert full.predicted.requires_grad
    assert not full.guessed.requires_grad
    assert full.predicted.data_ptr() == full.guessed.data_ptr()  # one copy of what may be half a gigabyte
    assert full.positions.all()
    assert torch.equal(full.targets, benchmark.make_sample(benchmark.parse(TINY)).targets)
    assert full.target_lengths.tolist() == [5, 5, 5]
    assert narrow.canvas_lengths.tolist() == [8, 8, 8]
    tokens = benchmark.make_sample(benchmark.parse([*TINY, "--random-lengths"]))
    assert random.target_lengths.tolist() == tokens.positions.sum(dim=1).tolist()
    assert random.canvas_lengths.tolist() == [2 * length for length in random.target_lengths.tolist()]
    assert random.positions.sum(dim=1).tolist() == random.canvas_lengths.tolist()
    assert len(random.predicted) == int(random.canvas_lengths.sum())
    assert len(random.guessed) == int(random.canvas_lengths.max())


def test_the_ctc_step_is_the_gradient_of_the_loss(canvases: Any, benchmark: ModuleType) -> None:
    """Against torch's CTC on a whole log-softmax, and the divergence from the uniform distribution written out."""
    (gradient,) = benchmark.make_canvas_steps(canvases)[benchmark.CTC]()
    logits = canvases.predicted.detach().clone().requires_grad_()
    log_probs = torch.log_softmax(logits, dim=1)
    loss = logits.new_zeros(())
    lengths = canvases.canvas_lengths.tolist()
    for row, own in enumerate(torch.split(log_probs, lengths)):
        length = int(canvases.target_lengths[row])
        target = canvases.targets[row : row + 1, :length]
        repeats = int((target[:, 1:] == target[:, :-1]).sum())
        if length + repeats > len(own):
            continue
        sizes = torch.tensor([len(own)]), torch.tensor([length])
        loss = loss + 0.9 * F.ctc_loss(own.unsqueeze(1), target, *sizes, reduction="sum")
        loss = loss - 0.1 * length * (own + torch.log(torch.tensor(11.0))).mean()
    (expected,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_the_cross_entropy_step_is_a_gradient_at_every_position(canvases: Any, benchmark: ModuleType) -> None:
    """The gradient of -log p(word) is p, less 1 at the word."""
    steps = benchmark.make_canvas_steps(canvases)
    (gradient,) = steps["cross-entropy (torch), forward and backward"]()
    missing = torch.softmax(canvases.predicted.detach(), dim=1) - gradient
    assert missing.sum(dim=1).tolist() == pytest.approx([1.0] * len(missing), abs=1e-5)
    assert missing.amax(dim=1).tolist() == pytest.approx([1.0] * len(missing), abs=1e-5)


def test_the_alignment_is_what_glancing_computes(canvases: Any, benchmark: ModuleType) -> None:
    """Shown everything, the decoder is shown the alignment; here by a teacher who is given the same logits."""
    aligned = benchmark.make_canvas_steps(canvases)["Viterbi alignment, forward only"]()
    blank = int(benchmark.BLANK)
    model: Any = SimpleNamespace(blank=blank, mask=99, reads_canvas_tokens=True, training=True, uses_ctc=True)
    teacher = Teacher(model, canvases.targets, canvases.target_lengths, 1.0)
    canvas = Canvas(torch.empty(0), canvases.canvas_lengths, ~canvases.positions, None)
    shown = set()
    for seed in range(40):  # which positions are shown is drawn
        torch.manual_seed(seed)
        tokens = teacher(canvas, lambda: canvases.guessed).tokens
        assert tokens is not None
        there = tokens != model.mask
        assert torch.equal(tokens[there], aligned[there])
        shown |= {tuple(place) for place in there.nonzero().tolist()}
    assert len(shown) == int(canvases.positions.sum())
    assert not aligned.requires_grad


def test_table(benchmark: ModuleType) -> None:
    """The median, half the range over the median, and the ratio of the medians."""
    seconds = {benchmark.REFERENCE: [0.2, 0.1, 0.3], "AXE": [0.5, 0.5, 0.6]}
    assert benchmark.table(seconds).splitlines()[2:] == [
        "| cross-entropy (torch) | 200.0 ±50% | 1.00 |",
        "| AXE | 500.0 ±10% | 2.50 |",
    ]
    lines = benchmark.table(seconds, "AXE", "of a step | ms").splitlines()
    assert lines[0] == "| of a step | ms | ratio |"
    assert lines[2:] == ["| cross-entropy (torch) | 200.0 ±50% | 0.40 |", "| AXE | 500.0 ±10% | 1.00 |"]


def test_command(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark_losses.py", *TINY, "--threads", str(torch.get_num_threads())])
    benchmark.main()
    printed = capsys.readouterr()
    assert "CPU " in printed.out
    assert "3 sentences of 5 tokens (full length: 15 positions), 11 words, float32; 2 repetitions" in printed.out
    assert "on canvases of up to 10 positions (30 in all)" in printed.out
    rows = [line.split(" | ") for line in printed.out.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows if not row[0].startswith("| ---")] == [
        "| loss",
        "| cross-entropy (torch)",
        "| label-smoothed cross-entropy (torch)",
        "| label-smoothed cross-entropy",
        "| AXE",
        "| OAXE",
        "| of a training step",
        "| cross-entropy (torch), forward and backward",
        "| CTC loss, forward and backward",
        "| Viterbi alignment, forward only",
    ]
    ratios = {row[0].removeprefix("| "): row[2] for row in rows}
    assert ratios[benchmark.REFERENCE] == ratios[benchmark.CTC] == "1.00 |"
    assert "repetition 2 of 2" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sentences", "0"], "--sentences must be at least 1, but is 0"),
        (["--tokens", "-1"], "--tokens must be at least 1, but is -1"),
        (["--repetitions", "0"], "--repetitions must be at least 1, but is 0"),
        (["--threads", "0"], "--threads must be at least 1, but is 0"),
        (["--ctc-upsample", "0.9"], "--ctc-upsample must be at least 1 and finite, but is 0.9"),
        (["--ctc-upsample", "inf"], "--ctc-upsample must be at least 1 and finite, but is inf"),
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
