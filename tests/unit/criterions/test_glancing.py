"""What is shown in training: the schedule, the number of positions, and the truth on the canvas."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bnb_fairseq.criterions.glancing import (
    GlancingSchedule,
    Teacher,
    choose,
    glanced_count,
    glancing_schedule,
    uniform_count,
)
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.modules.canvas import Canvas, padding_mask
from bnb_fairseq.modules.lazy_logits import LazyLogits

from .fixed_model import batch, criterion

MakeModel = Callable[..., BnbTransformer]
PAD, MASK, BLANK = 1, 16, 17  # of the small model with a blank of its own
TARGET = torch.tensor([[0, 5, 5, 6, 2], [0, 9, 2, PAD, PAD]])
LENGTHS = torch.tensor([5, 3])


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("0.5", GlancingSchedule(0.5, 0.5, 0)),
        (".3", GlancingSchedule(0.3, 0.3, 0)),
        ("1", GlancingSchedule(1.0, 1.0, 0)),
        ("0.5:0.1@200k", GlancingSchedule(0.5, 0.1, 200_000)),
        ("0:1.0@3M", GlancingSchedule(0.0, 1.0, 3_000_000)),
        ("0.2:0@50", GlancingSchedule(0.2, 0.0, 50)),
    ],
)
def test_schedules(text: str, schedule: GlancingSchedule) -> None:
    assert glancing_schedule(text) == schedule


@pytest.mark.parametrize(
    "text", ["", "half", "1.5", "-0.5", "0.5:0.1", "0.5@100", "0.5:0.1@", "0.5:2@100", "0.5:0.1@1g"]
)
def test_bad_schedules(text: str) -> None:
    message = rf"^--glancing .* 0 to 1 .* FROM:TO@UPDATES.*{re.escape(repr(text))}"
    with pytest.raises(ValueError, match=message):
        glancing_schedule(text)
    with pytest.raises(ValueError, match=message):
        criterion(glancing=text)


def test_a_straight_line() -> None:
    shares = [GlancingSchedule(0.5, 0.1, 40).at(update) for update in (0, 10, 30, 40, 1000)]
    assert shares == pytest.approx([0.5, 0.4, 0.2, 0.1, 0.1])
    assert GlancingSchedule(0.5, 0.5, 0).at(0) == 0.5


def canvas_of(lengths: Tensor) -> Canvas:
    return Canvas(torch.zeros(0), lengths, padding_mask(lengths, int(lengths.max())), None)


def logits_for(tokens: Tensor, symbols: int) -> Tensor:
    """Logits, A x B x V, whose argmax are the given tokens, B x A."""
    return 5.0 * torch.nn.functional.one_hot(tokens, symbols).float().transpose(0, 1)


def no_guess() -> LazyLogits:
    raise AssertionError("a pass over the decoder that nobody needs")


def test_nothing_is_shown_outside_training_or_to_a_decoder_that_reads_nothing(make_model: MakeModel) -> None:
    models = [make_model(length_control=control, canvas_tokens=True) for control in ("ctc", "length")]
    models += [make_model(length_control=control).train() for control in ("ctc", "length")]
    for model in models:
        canvas = canvas_of(torch.tensor([4, 2]))
        revealed = Teacher(model, TARGET, LENGTHS, None)(canvas, no_guess)
        assert revealed.tokens is None
        assert torch.equal(revealed.hidden, ~canvas.padding)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_glancing_at_a_target_of_known_length(share: float, make_model: MakeModel) -> None:
    """In the first sentence 4 of 5 tokens are wrong, in the second 2 of 3."""
    model = make_model(length_control="length", canvas_tokens=True).train()
    guess = logits_for(torch.tensor([[0, 9, 9, 9, 9], [0, 8, 8, 8, 8]]), 17)
    teacher, canvas = Teacher(model, TARGET, LENGTHS, share), canvas_of(LENGTHS)
    seen = set()
    for _ in range(30):
        tokens, hidden = teacher(canvas, lambda: LazyLogits(guess))
        assert tokens is not None
        assert hidden.sum(dim=1).tolist() == [5 - int(4 * share), 3 - int(2 * share)]
        assert not (hidden & canvas.padding).any()
        shown = ~hidden & ~canvas.padding
        assert torch.equal(tokens, torch.where(shown, TARGET, MASK))
        seen.add(tuple(hidden.flatten().tolist()))
    assert (len(seen) > 5) == (share > 0)


def test_a_random_number_needs_no_guess_where_the_length_is_known(make_model: MakeModel) -> None:
    model = make_model(length_control="length", canvas_tokens=True).train()
    torch.manual_seed(1)
    teacher, canvas = Teacher(model, TARGET, LENGTHS, None), canvas_of(LENGTHS)
    counts = {tuple(teacher(canvas, no_guess).hidden.sum(dim=1).tolist()) for _ in range(200)}
    assert counts == {(i, j) for i in range(1, 6) for j in range(1, 4)}


@pytest.mark.parametrize("share", [None, 1.0])
def test_what_ctc_shows_is_the_best_alignment(share: float | None, make_model: MakeModel) -> None:
    """The guess is right but for positions 2 and 5 of the first sentence; the second target does not fit."""
    model = make_model(length_control="ctc", canvas_tokens=True).train()
    aligned = torch.tensor([[0, 5, BLANK, 5, 6, 6, 2], [0] * 7])
    said = aligned.clone()
    said[0, 2], said[0, 5] = 9, 9
    guess = logits_for(said, 18)
    guess[2, 0, BLANK] = guess[5, 0, 6] = 1.0  # of what the target allows there, the most probable
    teacher, canvas = Teacher(model, TARGET, LENGTHS, share), canvas_of(torch.tensor([7, 2]))
    torch.manual_seed(1)
    for _ in range(20):
        tokens, hidden = teacher(canvas, lambda: LazyLogits(guess))
        assert tokens is not None
        shown = ~hidden & ~canvas.padding
        assert torch.equal(tokens[0], torch.where(shown[0], aligned[0], MASK))
        if share is not None:
            assert int(shown[0].sum()) == 2


@pytest.mark.parametrize("control", ["ctc", "length"])
def test_a_share_of_0_needs_no_guess(control: str, make_model: MakeModel) -> None:
    model = make_model(length_control=control, canvas_tokens=True).train()
    canvas = canvas_of(LENGTHS)
    tokens, hidden = Teacher(model, TARGET, LENGTHS, 0.0)(canvas, no_guess)
    assert tokens is not None and tokens.dtype == TARGET.dtype
    assert tokens.tolist() == [[MASK] * 5] * 2
    assert torch.equal(hidden, ~canvas.padding)
    with pytest.raises(AssertionError, match=r"^a pass over the decoder that nobody needs$"):
        Teacher(model, TARGET, LENGTHS, 1e-9)(canvas, no_guess)


def passes(model: BnbTransformer, glancing: str | None, updates: list[int], deep_supervision: float) -> list[int]:
    """Count the passes over the decoder that a training step makes at each update."""
    counts: list[int] = []
    first_layer = model.decoder.layers[0]
    for update in updates:
        calls: list[bool] = []
        hook = first_layer.register_forward_hook(lambda *_, calls=calls: calls.append(torch.is_grad_enabled()))
        model.set_num_updates(update)
        loss_of = criterion(glancing=glancing, deep_supervision=deep_supervision)
        loss_of(model, batch([[0, 5, 7, 13, 4, 2]], [[0, 5, 5, 6, 2]]))
        hook.remove()
        assert calls.count(True) == 1
        counts.append(len(calls))
    return counts


@pytest.mark.parametrize("deep", [0.0, 0.5])
@pytest.mark.parametrize(("control", "at_random"), [("ctc", 2), ("length", 1)])
def test_the_guess_is_left_out_where_the_share_is_exactly_0(
    control: str, at_random: int, deep: float, make_model: MakeModel
) -> None:
    """At update 1 of a rising schedule the share shows no token, but is not 0."""
    model = make_model(length_control=control, canvas_tokens=True).train()
    assert passes(model, None, [0, 5], deep) == [at_random, at_random]
    assert passes(model, "0", [0, 5, 9000], deep) == [1, 1, 1]
    assert passes(model, "0:0.3@1500", [0, 1, 1500], deep) == [1, 2, 2]
    assert passes(model, "0.3:0@10", [0, 9, 10, 11], deep) == [2, 2, 1, 1]
    assert passes(model.eval(), "0.5", [5], deep) == [1]


@pytest.mark.parametrize("options", [{}, {"deep_supervision": 0.5, "label_smoothing": 0.0}])
@pytest.mark.parametrize("control", ["ctc", "length"])
def test_without_the_guess_the_result_is_the_same(control: str, options: dict[str, Any], make_model: MakeModel) -> None:
    """A share that rounds to no token goes the whole way, over guess and alignment. Target 2 fits no canvas."""
    model = make_model(length_control=control, canvas_tokens=True, dropout=0.0, attention_dropout=0.0).train()
    sample = batch([[0, 5, 7, 13, 4, 4, 2], [0, 2], [0, 9, 6, 2]], [[0, 5, 5, 6, 2], [0, 7, 8, 9, 10, 2], [0, 9, 2]])
    shown: list[Tensor] = []
    model.register_forward_hook(lambda _, inputs, output: shown.extend(output.revealed))

    def step(glancing: str) -> tuple[Tensor, int, dict[str, Any], list[Tensor | None]]:
        model.zero_grad()
        loss, tokens, logs = criterion(glancing=glancing, **options)(model, sample)
        torch.autograd.backward(loss)
        return loss.detach(), tokens, logs, [parameter.grad for parameter in model.parameters()]

    (loss, tokens, logs, gradients), (long_loss, long_tokens, long_logs, long_gradients) = step("0"), step("0.000001")
    assert torch.equal(loss, long_loss) and float(loss) > 1
    assert tokens == long_tokens
    assert float(logs["revealed_sum"]) == 0.0
    assert {name: float(value) for name, value in logs.items()} == {n: float(v) for n, v in long_logs.items()}
    for gradient, expected in zip(gradients, long_gradients, strict=True):
        assert (gradient is None) == (expected is None)
        assert gradient is None or expected is None or torch.equal(gradient, expected)
    assert [each.tolist() for each in shown[:2]] == [each.tolist() for each in shown[2:]]
    assert shown[0].eq(MASK).all()


@pytest.mark.parametrize("control", ["ctc", "length"])
def test_training_sees_the_schedule(control: str, make_model: MakeModel) -> None:
    """What is shown is not in the loss: the more of it, the less is left."""
    model = make_model(length_control=control, canvas_tokens=True, dropout=0.0, attention_dropout=0.0).train()
    sample = batch([[0, 5, 7, 13, 4, 4, 2], [0, 9, 6, 2]], [[0, 5, 5, 6, 2], [0, 9, 2]])
    loss_of = criterion(glancing="0:1@100")
    torch.manual_seed(1)
    logs: list[dict[str, Any]] = []
    for update in (0, 50, 100):
        model.set_num_updates(update)
        loss, _, log = loss_of(model, sample)
        torch.autograd.backward(loss)
        logs.append(log)
    shown = [float(log["revealed_sum"]) / 2 for log in logs]
    assert shown[0] == 0.0
    assert shown[0] < shown[1] < shown[2] <= 1.0
    nll = [float(log["nll_sum"]) for log in logs]
    assert nll[0] > nll[1] > nll[2]
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    _, _, log = loss_of(model.eval(), sample)
    assert "revealed_sum" not in log
    assert float(log["nll_sum"]) == pytest.approx(nll[0], rel=1e-5)


def test_choose_takes_candidates_only_and_as_many_as_asked() -> None:
    torch.manual_seed(1)
    candidates = torch.tensor([[True, False, True, True, False], [False, True, False, False, True]]).repeat(500, 1)
    counts = torch.tensor([2, 1]).repeat(500)
    chosen = choose(counts, candidates)
    assert chosen.dtype == torch.bool
    assert not (chosen & ~candidates).any()
    assert torch.equal(chosen.sum(dim=1), counts)
    assert choose(torch.tensor([0, 2]), candidates[:2]).tolist() == [[False] * 5, candidates[1].tolist()]


def test_every_set_is_equally_likely() -> None:
    """Bounds are 5 standard errors."""
    torch.manual_seed(1)
    draws = 20_000
    candidates = torch.tensor([True, False, True, True, True, True]).expand(draws, -1)
    sets = torch.bincount(choose(torch.full((draws,), 2), candidates).long() @ torch.tensor([1, 2, 4, 8, 16, 32]))
    sets = sets[sets > 0].double()
    assert len(sets) == 10
    assert float((sets / draws - 0.1).abs().max()) < 5 * (0.1 * 0.9 / draws) ** 0.5


def test_each_sentence_is_drawn_for_itself() -> None:
    torch.manual_seed(1)
    rows = choose(torch.full((50,), 6), torch.ones(50, 12, dtype=torch.bool)).tolist()
    assert len({tuple(row) for row in rows}) > 40


def test_uniform_count() -> None:
    torch.manual_seed(1)
    draws = 60_000
    for size in (1, 5):
        counts = torch.bincount(uniform_count(torch.full((draws,), size)), minlength=size + 1)
        assert counts[0] == 0
        assert len(counts) == size + 1
        error = (counts[1:].double() / draws - 1 / size).abs().max()
        assert float(error) <= 5 * (1 / size * (1 - 1 / size) / draws) ** 0.5
    assert uniform_count(torch.tensor([0, 0])).tolist() == [0, 0]


def test_glanced_count_by_hand() -> None:
    """Three and four of the positions inside the canvas are wrong."""
    truth = torch.tensor([[1, 2, 3, 4, 5], [1, 1, 1, 1, 9]])
    guess = torch.tensor([[1, 0, 0, 0, 5], [0, 0, 0, 0, 0]])
    inside = torch.tensor([[True] * 5, [True] * 4 + [False]])
    counts = [glanced_count(guess, truth, inside, share).tolist() for share in (0.0, 0.3, 0.5, 0.7, 1.0)]
    assert counts == [[0, 0], [0, 1], [1, 2], [2, 2], [3, 4]]
