"""The loss of a batch is the sum over its sentences, in whatever company and precision they come."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnb_fairseq.criterions.bnb_loss import BnbLoss, check_fits_model
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.modules.layers import LayerSizes
from bnb_fairseq.network.options import NetworkOptions

from .fixed_model import batch, criterion

MakeModel = Callable[..., BnbTransformer]
KINDS: dict[str, dict[str, Any]] = {
    "ctc": {"length_control": "ctc"},
    "ctc blank pad": {"length_control": "ctc", "ctc_blank": "pad", "ctc_canvas": "repeat", "ctc_upsample": 1.5},
    "length": {"length_control": "length", "length_range": 3},
    "length canvas tokens": {"length_control": "length", "length_range": 3, "canvas_tokens": True},
    "ctc canvas tokens": {"length_control": "ctc", "canvas_tokens": True},
    "ctc short canvas": {"length_control": "ctc", "ctc_upsample": 0.9, "canvas_tokens": True},
    "ctc vae": {"length_control": "ctc", "latent": "vae", "latent_size": 3},
    "length vae": {"length_control": "length", "length_range": 3, "latent": "vae", "latent_size": 3},
    "length axe": {"length_control": "length", "length_range": 3},
    "length oaxe": {"length_control": "length", "length_range": 3, "canvas_tokens": True},
}
CRITERIONS: dict[str, dict[str, Any]] = {
    "ctc vae": {"kl_factor": 0.7},
    "length vae": {"kl_factor": 0.7},
    "length axe": {"token_loss": "axe", "axe_skip_target": 2.0},
    "length oaxe": {"token_loss": "oaxe", "oaxe_margin": 0.02},
}
SOURCES = [[0, 5, 7, 13, 4, 4, 2], [0, 2], [0, 9, 6, 2], [0, 8, 8, 8, 11, 2], [0, 6, 2]]
# A double word; one that no canvas of 2 source tokens holds; a length difference beyond 3.
TARGETS = [[0, 5, 5, 6, 2], [0, 7, 8, 9, 10, 2], [0, 9, 2], [0, 4, 6, 7, 8, 8, 11, 12, 12, 13, 14, 15, 2], [0, 4, 2]]
SUMS = ("loss", "nll_sum", "ntokens", "nsentences", "sample_size", "uniform_kl_sum", "length_nll_sum", "blank_sum")
COUNTS = ("canvas_overflow_sum", "length_correct", "length_error_sum", "length_overflow_sum", "oaxe_kept")
MORE = ("axe_sum", "oaxe_sum", "kl_factor_sum", "latent_tokens", "latent_kl", "latent_mean", "latent_square")


def sentences(chosen: list[int], extra: int = 0) -> dict[str, object]:
    return batch([SOURCES[i] for i in chosen], [TARGETS[i] for i in chosen], extra)


@pytest.mark.parametrize("kind", ["ctc", "length"])
def test_targets_of_data_sets_lack_what_the_canvas_begins_with(kind: str, make_model: MakeModel) -> None:
    """All other tests hand over targets with [CLS], 0 here, which the criterion puts before those of a data set."""
    model = make_model(**KINDS[kind])
    expected = criterion(0.1)(model, sentences([0, 1, 2, 3, 4]))
    sample: dict[str, Any] = sentences([0, 1, 2, 3, 4])
    sample["target"] = sample["target"][:, 1:]
    loss, tokens, _ = criterion(0.1, kind=BnbLoss)(model, sample)
    assert (float(loss), tokens) == (float(expected[0]), expected[1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_the_sum_of_its_sentences(kind: str, smoothing: float, make_model: MakeModel) -> None:
    model = make_model(**KINDS[kind])
    loss_of = criterion(smoothing, length_loss_factor=0.3, **CRITERIONS.get(kind, {}))
    alone = [loss_of(model, sentences([i])) for i in range(5)]
    assert any(loss > 0 for loss, _, _ in alone)
    for chosen, extra in (([0, 1, 2, 3, 4], 0), ([3, 1], 0), ([2, 0, 4], 4), ([1], 3)):
        loss, tokens, logs = loss_of(model, sentences(chosen, extra))
        assert float(loss) == pytest.approx(sum(float(alone[i][0]) for i in chosen), rel=1e-5)
        assert tokens == sum(alone[i][1] for i in chosen)
        assert logs.keys() == alone[0][2].keys()
        for name in logs:
            assert name in SUMS + COUNTS + MORE
            expected = sum(torch.as_tensor(alone[i][2][name]).double() for i in chosen)
            torch.testing.assert_close(torch.as_tensor(logs[name]).double(), expected, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_add_up_too(kind: str, make_model: MakeModel) -> None:
    def gradients(samples: list[dict[str, object]]) -> Tensor:
        model = make_model(**KINDS[kind]).double()
        for sample in samples:
            torch.autograd.backward(criterion(**CRITERIONS.get(kind, {}))(model, sample)[0])
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    together, one_by_one = gradients([sentences([0, 1, 2, 3, 4])]), gradients([sentences([i]) for i in range(5)])
    assert together.abs().max() > 1e-3
    assert torch.allclose(together, one_by_one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_sample_size_counts_the_tokens_that_the_loss_covers(kind: str, make_model: MakeModel) -> None:
    _, tokens, logs = criterion(**CRITERIONS.get(kind, {}))(
        make_model(**KINDS[kind]), sentences([0, 1, 2, 3, 4], extra=2)
    )
    outside = [1, 3] if kind.startswith("ctc") else []  # canvases of 4 and 12, of 3 and 9, of 2 and 6
    assert tokens == sum(len(target) for i, target in enumerate(TARGETS) if i not in outside)
    assert float(logs.get("canvas_overflow_sum", 0)) == len(outside)
    assert (logs["sample_size"], logs["ntokens"], logs["nsentences"]) == (tokens, sum(map(len, TARGETS)), 5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_models_have_a_float32_loss(kind: str, dtype: torch.dtype, make_model: MakeModel) -> None:
    model, loss_of = make_model(**KINDS[kind]), criterion(**CRITERIONS.get(kind, {}))
    exact, _, _ = loss_of(model, sentences([0, 1, 2, 3, 4]))
    loss, _, logs = loss_of(model.to(dtype), sentences([0, 1, 2, 3, 4]))
    assert loss.dtype == torch.float32
    precise = {v.dtype for v in logs.values() if isinstance(v, Tensor) and v.is_floating_point()}
    assert precise <= {torch.float32, torch.float64}
    assert float(loss) == pytest.approx(float(exact), rel=0.03)
    torch.autograd.backward(loss)
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


def test_double_precision_stays(make_model: MakeModel) -> None:
    for kind, options in KINDS.items():
        loss, _, _ = criterion(**CRITERIONS.get(kind, {}))(make_model(**options).double(), sentences([0, 1]))
        assert loss.dtype == torch.float64


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("short", [{}, {"ctc_upsample": 0.1}, {"ctc_upsample": 0.3, "canvas_tokens": True}])
def test_a_batch_in_which_nothing_fits_keeps_the_graph_alive(
    short: dict[str, Any], training: bool, smoothing: float, make_model: MakeModel
) -> None:
    model = make_model(**KINDS["ctc"], **short).train(training)
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

    for kind, options in KINDS.items():
        model, loss_of = make_model(**options), criterion(**CRITERIONS.get(kind, {}))
        wrapper = Wrapper(Wrapper(model)).eval()
        assert torch.equal(loss_of(wrapper, sentences([0, 2]))[0], loss_of(model, sentences([0, 2]))[0])
        assert wrapper.calls == 1  # a wrapper that is walked round does not synchronise gradients


@pytest.mark.parametrize("control", ["ctc", "length"])
def test_without_a_kl_factor_the_loss_is_the_deterministic_models(control: str, make_model: MakeModel) -> None:
    options = {"length_control": control, "length_range": 3}
    variational, deterministic = make_model(**options, latent="vae"), make_model(**options)
    own = deterministic.state_dict().keys()
    deterministic.load_state_dict({name: w for name, w in variational.state_dict().items() if name in own})
    batch = sentences([0, 1, 2, 3, 4])
    expected, _, _ = criterion()(deterministic, batch)
    assert torch.equal(criterion(kl_factor=0.0)(variational, batch)[0], expected)
    assert float(criterion(kl_factor=0.5)(variational, batch)[0]) > float(expected) + 0.1
    losses = {float(criterion(kl_factor=0.0)(variational.train(), batch)[0]) for _ in range(3)}
    assert len(losses) == 3  # in training z is drawn


def network(control: str, canvas_tokens: bool = False, layers: int = 6) -> NetworkOptions:
    sizes = LayerSizes(layers, 8, 8, 2, 0.0, 0.0, 1e-12)
    return NetworkOptions(sizes, sizes, 16, 16, length_control=control, canvas_tokens=canvas_tokens)


def test_a_criterion_that_does_not_fit_the_model() -> None:
    for kind in ("axe", "oaxe"):
        message = f"^--token-loss {kind} .*--length-control length.*ctc"
        with pytest.raises(ValueError, match=message):
            check_fits_model(criterion(token_loss=kind), "bnb_loss", network("ctc"))
        check_fits_model(criterion(token_loss=kind), "bnb_loss", network("length"))
    check_fits_model(criterion(), "bnb_loss", network("ctc", layers=1))
    for control in ("ctc", "length"):
        with pytest.raises(ValueError, match=r"^--glancing .*--canvas-tokens"):
            check_fits_model(criterion(glancing="0.5"), "bnb_loss", network(control))
        check_fits_model(criterion(glancing="0.5"), "bnb_loss", network(control, canvas_tokens=True))
        one_layer = "^--deep-supervision .*--decoder-layers.* 1$"
        with pytest.raises(ValueError, match=one_layer):
            check_fits_model(criterion(deep_supervision=0.5), "bnb_loss", network(control, layers=1))
        check_fits_model(criterion(deep_supervision=0.5), "bnb_loss", network(control, layers=2))


def test_all_that_does_not_fit_the_model_is_named() -> None:
    wrong = criterion(token_loss="axe", glancing="0.5", deep_supervision=0.5)
    with pytest.raises(ValueError, match=r"^--token-loss axe .*; --glancing .*; --deep-supervision [^;]*$"):
        check_fits_model(wrong, "bnb_loss", network("ctc", layers=1))
