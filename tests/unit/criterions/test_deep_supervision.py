"""Deep supervision, recomputed: by models that end at an inner layer, and from hidden states with full softmaxes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fairseq.logging import metrics
from torch import Tensor, nn

from bnb_fairseq.criterions.bnb_loss import BnbLoss
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.network.nar_network import NarOutput

from .fixed_model import PAD, batch, criterion

MakeModel = Callable[..., BnbTransformer]
SOURCES = [[0, 5, 7, 13, 4, 4, 2], [0, 9, 6, 2], [0, 8, 8, 8, 11, 2], [0, 2]]
TARGETS = [[0, 5, 5, 6, 2], [0, 9, 2], [0, 4, 6, 7, 8, 2], [0, 7, 8, 9, 10, 2]]  # the last one fits no CTC canvas
QUIET = {"decoder_layers": 3, "dropout": 0.0, "attention_dropout": 0.0}
LENGTH: dict[str, Any] = {"length_control": "length", "length_range": 3}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ctc": ({}, {}),
    "ctc pad": ({"ctc_blank": "pad", "ctc_upsample": 1.5}, {}),
    "ce": (LENGTH, {}),
    "ce canvas tokens": ({**LENGTH, "canvas_tokens": True}, {}),
    "axe": (LENGTH, {"token_loss": "axe", "axe_skip_target": 2.0}),
    "oaxe": (LENGTH, {"token_loss": "oaxe", "oaxe_margin": 0.02}),
    "oaxe canvas tokens": ({**LENGTH, "canvas_tokens": True}, {"token_loss": "oaxe"}),
}


def sample(chosen: Sequence[int] = (0, 1, 2, 3)) -> dict[str, Any]:
    return batch([SOURCES[i] for i in chosen], [TARGETS[i] for i in chosen])


def loss_at(model: BnbTransformer, layers: int, loss_of: BnbLoss) -> Tensor:
    """The loss of a model that ends after some of its decoder layers."""
    all_layers = model.decoder.layers
    try:
        model.decoder.layers = nn.ModuleList(list(all_layers)[:layers])
        torch.manual_seed(5)  # what is shown is drawn
        return loss_of(model, sample())[0]
    finally:
        model.decoder.layers = all_layers


def gradients(model: BnbTransformer, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    torch.autograd.backward(loss)
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_against_models_that_end_at_inner_layers(kind: str, smoothing: float, make_model: MakeModel) -> None:
    model_options, options = KINDS[kind]
    model = make_model(**QUIET, **model_options).double().train()
    plain = criterion(smoothing, length_loss_factor=0.0, **options)
    inner = [loss_at(model, layers, plain) for layers in (1, 2)]
    expected = loss_at(model, 3, plain) + 0.7 * (inner[0] + inner[1]) / 2
    expected_gradients = gradients(model, expected)

    torch.manual_seed(5)
    deep = criterion(smoothing, length_loss_factor=0.0, deep_supervision=0.7, **options)
    loss, _, logs = deep(model, sample())
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    for name, layer in (("layer1_loss", inner[0]), ("layer2_loss", inner[1])):
        assert float(logs[name]) == pytest.approx(float(layer.detach()), rel=1e-6)
    assert float(logs["loss"]) == float(loss.detach())
    assert len({round(float(layer.detach()), 3) for layer in inner}) == 2
    found = gradients(model, loss)
    assert found.keys() == expected_gradients.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-5, atol=1e-5, msg=name)


def slow_ctc(logits: Tensor, output: NarOutput, target: Tensor, blank: int) -> float:
    """torch's CTC over the whole vocabulary, A x B x V; where a token is shown, its probability is 1."""
    assert output.revealed is not None and output.revealed.tokens is not None
    log_probs = logits.log_softmax(dim=-1).detach()
    for b, a in (~output.revealed.hidden).nonzero().tolist():
        log_probs[a, b] = -1e4
        log_probs[a, b, output.revealed.tokens[b, a]] = 0.0
    nll = F.ctc_loss(
        log_probs,
        target,
        output.canvas_lengths,
        target.ne(PAD).sum(dim=1),
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )
    return float(nll.sum())


def test_ctc_with_revealed_tokens_from_hidden_states(make_model: MakeModel) -> None:
    model = make_model(**QUIET, canvas_tokens=True).double().train()
    states: dict[int, Tensor] = {}
    outputs: list[NarOutput] = []
    for i, layer in enumerate(model.decoder.layers):
        layer.register_forward_hook(lambda _, inputs, result, i=i: states.update({i: result[0]}))
    model.register_forward_hook(lambda _, inputs, output: outputs.append(output))
    torch.manual_seed(5)
    loss, _, logs = criterion(0.0, deep_supervision=0.5)(model, sample([0, 1, 2]))
    (output,) = outputs
    assert output.revealed is not None
    hidden = output.revealed.hidden
    assert 0 < int(hidden.sum()) < int(output.canvas_lengths.sum())
    for i, inner in enumerate(output.inner_states):  # one row for each hidden position, in row-major order of B x A
        assert torch.equal(inner, states[i].transpose(0, 1)[hidden])
    target: Tensor = sample([0, 1, 2])["target"]
    nll = [slow_ctc(model.decoder.output_layer(states[i]), output, target, model.control.blank) for i in range(3)]
    assert float(loss.detach()) == pytest.approx(nll[2] + 0.5 * (nll[0] + nll[1]) / 2, rel=1e-6)
    assert [float(logs[f"layer{i}_loss"]) for i in (1, 2)] == pytest.approx(nll[:2], rel=1e-6)


def test_length_and_latent_are_counted_once(make_model: MakeModel) -> None:
    model = make_model(**QUIET, **LENGTH, latent="vae").train()
    losses = {}
    for factor in (0.0, 0.5):
        for weight in (0.0, 0.7):
            torch.manual_seed(5)
            loss_of = criterion(0.1, length_loss_factor=factor, kl_factor=factor, deep_supervision=weight)
            losses[factor, weight] = float(loss_of(model, sample())[0].detach())
    assert losses[0.5, 0.7] - losses[0.0, 0.7] == pytest.approx(losses[0.5, 0.0] - losses[0.0, 0.0], rel=1e-4)
    assert losses[0.0, 0.7] > losses[0.0, 0.0] + 1


@pytest.mark.parametrize("kind", KINDS)
def test_validation_and_weight_0_know_nothing_of_it(kind: str, make_model: MakeModel) -> None:
    model_options, options = KINDS[kind]
    model = make_model(**QUIET, **model_options)
    asked: list[bool] = []
    model.register_forward_pre_hook(lambda _, inputs, named: asked.append(named["inner_states"]), with_kwargs=True)
    for training, weight in ((False, 0.7), (True, 0.0), (True, 0.7)):
        losses = []
        for w in (weight, 0.0):
            torch.manual_seed(5)
            loss, _, logs = criterion(deep_supervision=w, **options)(model.train(training), sample())
            assert any(name.startswith("layer") for name in logs) == (training and w > 0)
            losses.append(float(loss.detach()))
        assert (losses[0] == losses[1]) == (not training or weight == 0.0)
    assert asked == [False, False, False, False, True, False]


@pytest.mark.parametrize("kind", ["ctc", "axe"])
def test_a_batch_is_the_sum_of_its_sentences(kind: str, make_model: MakeModel) -> None:
    model_options, options = KINDS[kind]
    model = make_model(**QUIET, **model_options).train()
    loss_of = criterion(deep_supervision=0.7, **options)
    alone = sum(float(loss_of(model, sample([i]))[0].detach()) for i in range(4))
    assert float(loss_of(model, sample())[0].detach()) == pytest.approx(alone, rel=1e-5)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--deep-supervision .* -1\.0$"):
        criterion(deep_supervision=-1.0)


def test_layers_are_logged_in_bits_a_token() -> None:
    logs: list[dict[str, Any]] = [
        {"loss": 9.0, "sample_size": 3, "nsentences": 1, "layer1_loss": 6 * math.log(2), "layer10_loss": 1.0},
        {"loss": 9.0, "sample_size": 1, "nsentences": 1, "layer1_loss": torch.tensor(2 * math.log(2))},
    ]
    with metrics.aggregate() as found:
        BnbLoss.reduce_metrics(logs)
    values = found.get_smoothed_values()
    assert values["layer1_loss"] == 2.0
    assert values["layer10_loss"] == round(1 / 4 / math.log(2), 3)
