"""Loss and statistics by hand, from given probabilities, and what is logged of them."""

import math
from typing import Any

import pytest
import torch
from fairseq.logging import metrics
from torch import Tensor

from bnb_fairseq.criterions.bnb_loss import BnbLoss
from bnb_fairseq.modules.lazy_logits import LazyLogits
from bnb_fairseq.network.nar_network import NarOutput

from .fixed_model import MASK, PAD, FixedModel, batch, criterion

LN2 = math.log(2)
UNIFORM = (0.25, 0.25, 0.25, 0.25)
# KL(uniform || SKEW) = (ln(1/2) + ln(2) + ln(2) + ln(1)) / 4 = ln(2) / 4; the blank, 3, has probability 1/4.
SKEW = (0.5, 0.125, 0.125, 0.25)
OTHER = (0.01, 0.01, 0.01, 0.97)  # at padding


def ctc_model(dtype: torch.dtype = torch.float32) -> FixedModel:
    """Canvases of 2, 1 and 3 positions; logits are log-probabilities moved by a constant."""
    columns = [[SKEW, SKEW, OTHER], [UNIFORM, OTHER, OTHER], [SKEW, UNIFORM, UNIFORM]]
    logits = torch.tensor(columns, dtype=torch.float64).log().transpose(0, 1) + 3.0
    return FixedModel(NarOutput(LazyLogits(logits.to(dtype)), torch.tensor([2, 1, 3]), None), uses_ctc=True)


def ctc_sample() -> dict[str, object]:
    """The second target needs 3 positions of 1."""
    return batch([[5, 5], [5], [5, 5, 5]], [[0, 2], [2, 2], [0]])


# -ln(1/2 x 1/8); the alignments of "0" are 0.., 00., 000 and .0., ..0, .00 with "." the blank.
CTC_NLL = [math.log(16), 0.0, -math.log((3 * 0.5 + 3 * 0.25) / 16)]
CTC_KL = [LN2 / 4, 0.0, LN2 / 12]


def token_model(dtype: torch.dtype = torch.float32, reads_canvas_tokens: bool = False) -> FixedModel:
    """Targets of 4, 5 and 9 tokens, of which 0 has probability 1/2 everywhere; lengths are guessed as 4, 3 and 7."""
    tokens = torch.tensor(SKEW).log().expand(9, 3, 4)
    lengths = torch.tensor([[0.1, 0.1, 0.6, 0.1, 0.1], [0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 0.6]]).log()
    output = NarOutput(LazyLogits((tokens + 2.0).to(dtype)), torch.tensor([4, 5, 9]), (lengths - 1.0).to(dtype))
    return FixedModel(output, uses_ctc=False, reads_canvas_tokens=reads_canvas_tokens)


def token_sample() -> dict[str, object]:
    return batch([[5] * 4, [5] * 4, [5] * 5], [[0] * 4, [2] * 5, [3] * 9])


def numbers(logs: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items()}


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_ctc_by_hand(smoothing: float) -> None:
    loss, tokens, logs = criterion(smoothing)(ctc_model(), ctc_sample())
    assert tokens == 3  # 2 + 1, those that fit
    divergence = 2 * CTC_KL[0] + CTC_KL[2]
    assert float(loss) == pytest.approx((1 - smoothing) * sum(CTC_NLL) + smoothing * divergence, rel=1e-6)
    expected = {
        "loss": float(loss),
        "nll_sum": sum(CTC_NLL),
        "canvas_overflow_sum": 1,
        "blank_sum": 3 * 0.25,
        "ntokens": 5,
        "nsentences": 3,
        "sample_size": 3,
    }
    if smoothing:
        expected["uniform_kl_sum"] = divergence
    assert numbers(logs) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("smoothing", "factor"), [(0.0, 0.0), (0.0, 0.5), (0.2, 0.1)])
def test_cross_entropy_and_length_by_hand(smoothing: float, factor: float) -> None:
    loss, tokens, logs = criterion(smoothing, factor)(token_model(), token_sample())
    nll = [4 * LN2, 5 * 3 * LN2, 9 * 2 * LN2]
    smooth = (1 + 3 + 3 + 2) * LN2 / 4  # mean of -ln p over the vocabulary
    # Differences 0, 1 and 4 are classes 2, 3 and (clamped) 4.
    length_nll = [-math.log(0.6), -math.log(0.1), -math.log(0.6)]
    weighted = 4 * length_nll[0] + 5 * length_nll[1] + 9 * length_nll[2]
    assert tokens == 18
    assert float(loss) == pytest.approx(
        (1 - smoothing) * sum(nll) + smoothing * 18 * smooth + factor * weighted, rel=1e-6
    )
    assert numbers(logs) == pytest.approx(
        {
            "loss": float(loss),
            "nll_sum": sum(nll),
            "length_nll_sum": sum(length_nll),
            "length_correct": 1,
            "length_error_sum": 0 + 2 + 2,
            "length_overflow_sum": 1,
            "ntokens": 18,
            "nsentences": 3,
            "sample_size": 18,
        },
        rel=1e-6,
    )


def test_training_to_refine_hides_what_it_predicts() -> None:
    torch.manual_seed(1)
    sample, partly = token_sample(), 0
    target: Any = sample["target"]
    for _ in range(20):
        model = token_model(reads_canvas_tokens=True).train()
        _, tokens, logs = criterion()(model, sample)
        ((revealed, hidden),), (lengths,) = model.revealed, model.gold
        assert lengths is not None and lengths.tolist() == [4, 5, 9]
        assert revealed is not None
        assert not hidden[target == PAD].any()
        assert hidden.any(dim=1).all()
        assert torch.equal(revealed, torch.where(hidden | target.eq(PAD), MASK, target))
        assert tokens == logs["sample_size"] == int(hidden.sum())
        partly += int(tokens < 18)
    assert partly > 15


def test_validation_predicts_every_token_from_masks_only() -> None:
    model = token_model(reads_canvas_tokens=True).eval()
    assert criterion()(model, token_sample())[1] == 18
    assert model.revealed[0].tokens is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_lose_nothing_more(dtype: torch.dtype) -> None:
    """The loss is that of the same rounded logits in float32."""
    for make, sample in ((ctc_model, ctc_sample()), (token_model, token_sample())):
        half, full = make(dtype), make(dtype)
        length = full.output.length_logits
        full.output = full.output._replace(
            prediction=LazyLogits(full.output.logits.float()), length_logits=None if length is None else length.float()
        )
        (loss, _, logs), (expected, _, expected_logs) = criterion()(half, sample), criterion()(full, sample)
        assert loss.dtype == torch.float32
        assert float(loss) == pytest.approx(float(expected), rel=1e-6)
        assert numbers(logs) == pytest.approx(numbers(expected_logs), rel=1e-6)


def logged(logs: list[dict[str, float | Tensor]]) -> dict[str, float]:
    with metrics.aggregate(new_root=True) as aggregated:
        BnbLoss.reduce_metrics(logs)
    return {name: float(value) for name, value in aggregated.get_smoothed_values().items()}


def test_workers_add_up_under_ctc() -> None:
    logs = criterion(0.25)(ctc_model(), ctc_sample())[2]
    other = {**logs, "loss": 0.0, "nll_sum": 0.0, "uniform_kl_sum": 0.0, "sample_size": 1, "nsentences": 1}
    other |= {"canvas_overflow_sum": 1, "blank_sum": 0.25}
    expected = {
        "loss": (0.75 * sum(CTC_NLL) + 0.25 * (2 * CTC_KL[0] + CTC_KL[2])) / 4 / LN2,
        "nll_loss": sum(CTC_NLL) / 4 / LN2,
        "uniform_kl": (0.5 + 1 / 12) / 4,
        "canvas_overflow": 2 / 4,
        "blank_share": 0.25,
    }
    assert logged([logs, other]) == pytest.approx(expected, abs=6e-4)  # fairseq rounds to three digits


def test_workers_add_up_under_length_classification() -> None:
    first = criterion(0.0, 0.5)(token_model(), token_sample())[2]
    second = {**first, "nsentences": 1, "sample_size": 2, "length_correct": 1, "length_overflow_sum": 0}
    second |= {"loss": 0.0, "nll_sum": 3 * LN2, "length_nll_sum": LN2, "length_error_sum": 0}
    expected = {
        "loss": float(first["loss"]) / 20 / LN2,
        "nll_loss": (4 + 15 + 18 + 3) / 20,
        "length_loss": (1 - (2 * math.log(0.6) + math.log(0.1)) / LN2) / 4,
        "length_accuracy": 2 / 4,
        "length_error": 4 / 4,
        "length_overflow": 1 / 4,
    }
    assert logged([first, second]) == pytest.approx(expected, abs=6e-4)
    assert BnbLoss.logging_outputs_can_be_summed() is True
    summed: dict[str, float | Tensor] = {name: float(first[name]) + float(second[name]) for name in first}
    assert logged([summed]) == logged([first, second])


def test_nothing_fits_is_logged_as_that() -> None:
    model = ctc_model()
    model.output = model.output._replace(canvas_lengths=torch.tensor([1, 1, 3]))
    logs = criterion(0.0)(model, batch([[5, 5], [5], [5, 5, 5]], [[0, 2], [2, 2], [0, 0, 2]]))[2]
    assert logged([logs]) == pytest.approx({"loss": 0, "nll_loss": 0, "canvas_overflow": 1, "blank_share": 0.25})
