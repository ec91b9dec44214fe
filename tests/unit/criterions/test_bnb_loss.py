"""The loss of a batch is the sum over its sentences, in whatever company and precision they come."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnb_fairseq.models.bnb_transformer import BnbTransformer

from .fixed_model import batch, criterion

MakeModel = Callable[..., BnbTransformer]
KINDS: dict[str, dict[str, Any]] = {
    "ctc": {"length_control": "ctc"},
    "ctc blank pad": {"length_control": "ctc", "ctc_blank": "pad", "ctc_canvas": "repeat", "ctc_upsample": 1.5},
    "length": {"length_control": "length", "length_range": 3},
    "length canvas tokens": {"length_control": "length", "length_range": 3, "canvas_tokens": True},
}
SOURCES = [[0, 5, 7, 13, 4, 4, 2], [0, 2], [0, 9, 6, 2], [0, 8, 8, 8, 11, 2], [0, 6, 2]]
# A double word; one that no canvas of 2 source tokens holds; a length difference beyond 3.
TARGETS = [[0, 5, 5, 6, 2], [0, 7, 8, 9, 10, 2], [0, 9, 2], [0, 4, 6, 7, 8, 8, 11, 12, 12, 13, 14, 15, 2], [0, 4, 2]]
SUMS = ("loss", "nll_sum", "ntokens", "nsentences", "sample_size", "uniform_kl_sum", "length_nll_sum", "blank_sum")
COUNTS = ("canvas_overflow_sum", "length_correct", "length_error_sum", "length_overflow_sum")


def sentences(chosen: list[int], extra: int = 0) -> dict[str, object]:
    return batch([SOURCES[i] for i in chosen], [TARGETS[i] for i in chosen], extra)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_the_sum_of_its_sentences(kind: str, smoothing: float, make_model: MakeModel) -> None:
    model, loss_of = make_model(**KINDS[kind]), criterion(smoothing, length_loss_factor=0.3)
    alone = [loss_of(model, sentences([i])) for i in range(5)]
    assert any(loss > 0 for loss, _, _ in alone)
    for chosen, extra in (([0, 1, 2, 3, 4], 0), ([3, 1], 0), ([2, 0, 4], 4), ([1], 3)):
        loss, tokens, logs = loss_of(model, sentences(chosen, extra))
        assert float(loss) == pytest.approx(sum(float(alone[i][0]) for i in chosen), rel=1e-5)
        assert tokens == sum(alone[i][1] for i in chosen)
        assert logs.keys() == alone[0][2].keys()
        for name in logs:
            assert name in SUMS + COUNTS
            expected = sum(float(alone[i][2][name]) for i in chosen)
            assert float(logs[name]) == pytest.approx(expected, rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_add_up_too(kind: str, make_model: MakeModel) -> None:
    def gradients(samples: list[dict[str, object]]) -> Tensor:
        model = make_model(**KINDS[kind]).double()
        for sample in samples:
            torch.autograd.backward(criterion()(model, sample)[0])
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    together, one_by_one = gradients([sentences([0, 1, 2, 3, 4])]), gradients([sentences([i]) for i in range(5)])
    assert together.abs().max() > 1e-3
    assert torch.allclose(together, one_by_one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_sample_size_counts_the_tokens_that_the_loss_covers(kind: str, make_model: MakeModel) -> None:
    _, tokens, logs = criterion()(make_model(**KINDS[kind]), sentences([0, 1, 2, 3, 4], extra=2))
    outside = {"ctc": [1, 3], "ctc blank pad": [1, 3]}.get(kind, [])  # canvases of 4 and 12, of 3 and 9
    assert tokens == sum(len(target) for i, target in enumerate(TARGETS) if i not in outside)
    assert float(logs.get("canvas_overflow_sum", 0)) == len(outside)
    assert (logs["sample_size"], logs["ntokens"], logs["nsentences"]) == (tokens, sum(map(len, TARGETS)), 5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_models_have_a_float32_loss(kind: str, dtype: torch.dtype, make_model: MakeModel) -> None:
    model = make_model(**KINDS[kind])
    exact, _, _ = criterion()(model, sentences([0, 1, 2, 3, 4]))
    loss, _, logs = criterion()(model.to(dtype), sentences([0, 1, 2, 3, 4]))
    assert loss.dtype == torch.float32
    assert {v.dtype for v in logs.values() if isinstance(v, Tensor) and v.is_floating_point()} == {torch.float32}
    assert float(loss) == pytest.approx(float(exact), rel=0.03)
    torch.autograd.backward(loss)
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


def test_double_precision_stays(make_model: MakeModel) -> None:
    for options in KINDS.values():
        loss, _, _ = criterion()(make_model(**options).double(), sentences([0, 1]))
        assert loss.dtype == torch.float64


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_in_which_nothing_fits_keeps_the_graph_alive(
    training: bool, smoothing: float, make_model: MakeModel
) -> None:
    model = make_model(**KINDS["ctc"]).train(training)
    loss, tokens, logs = criterion(smoothing)(model, sentences([1, 3]))
    assert (float(loss), tokens, float(logs["canvas_overflow_sum"])) == (0.0, 0, 2.0)
    torch.autograd.backward(loss)
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(gradients) > 20
    assert all(bool(gradient.eq(0).all()) for gradient in gradients)


def test_distributed_wrappers_change_nothing(make_model: MakeModel) -> None:
    """fairseq puts two around the model, one in the other."""

    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module
            self.calls = 0

        def forward(self, **inputs: Tensor) -> Any:
            self.calls += 1
            return self.module(**inputs)

    for options in KINDS.values():
        model = make_model(**options)
        wrapper = Wrapper(Wrapper(model)).eval()
        assert torch.equal(criterion()(wrapper, sentences([0, 2]))[0], criterion()(model, sentences([0, 2]))[0])
        assert wrapper.calls == 1  # a wrapper that is walked round does not synchronise gradients


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, float("nan")])
def test_label_smoothing_out_of_range(value: float) -> None:
    message = f"--label-smoothing must lie in [0, 1), but is {value}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        criterion(label_smoothing=value)


@pytest.mark.parametrize("value", [-0.1, -3.0])
def test_negative_length_loss_factor(value: float) -> None:
    with pytest.raises(ValueError, match=f"^--length-loss-factor must not be negative, but is {value}$"):
        criterion(length_loss_factor=value)
