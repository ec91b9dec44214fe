"""Learning rates of layers, worked out from the parameters' names; through schedules, wrappers and resumption."""

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import optim
from fairseq.optim.lr_scheduler import build_lr_scheduler
from torch import Tensor, nn

from bnb_fairseq.optim.bnb_adam import BnbAdam

from ..started_model import Started, start, training

WriteBert = Callable[..., Path]
LAYERS, LR = 4, 0.25
RATES = ("--bert-lr-factor", "0.5", "--layer-lr-decay", "0.25")
SCHEDULES = {
    "fixed": ("--warmup-updates", "4", "--force-anneal", "2"),
    "inverse_sqrt": ("--warmup-updates", "4"),
    "polynomial_decay": ("--total-num-update", "12", "--warmup-updates", "3"),
    "cosine": ("--max-update", "12", "--warmup-updates", "2"),
    "tri_stage": ("--warmup-steps", "3", "--hold-steps", "2", "--decay-steps", "5"),
    "triangular": ("--max-lr", "0.5", "--lr-period-updates", "6"),
    "reduce_lr_on_plateau": (),
}


@pytest.fixture
def model(tmp_path: Path, write_bert: WriteBert) -> Started:
    return start(write_bert(tmp_path))


def rate(name: str, factor: float = 0.5, decay: float = 0.25) -> float:
    """The formula: factor x decay^(n - l) for layer l = 1..n, embeddings l = 0, head l = n; new parameters 1."""
    if ".encoder_attn" in name or not name.startswith(("encoder.", "decoder.")) or "latent" in name:
        return 1.0
    layer = re.search(r"layers\.(\d+)\.", name)
    number = int(layer[1]) + 1 if layer else 0 if ".embeddings." in name else LAYERS
    return float(factor * decay ** (LAYERS - number))


def build(parameters: Iterable[nn.Parameter], *more: str) -> BnbAdam:
    optimizer = optim.build_optimizer(training(*more).optimizer, list(parameters))
    assert isinstance(optimizer, BnbAdam)
    return optimizer


def step(optimizer: Any, model: nn.Module, seed: int | None = None) -> None:
    """One step; without a seed all gradients are 1, and Adam's first step is the learning rate itself."""
    generator = torch.Generator().manual_seed(seed or 0)
    optimizer.zero_grad()
    loss = torch.zeros(())
    for parameter in model.parameters():
        weights = 1 if seed is None else torch.randn(parameter.shape, generator=generator)
        loss = loss + (weights * parameter).sum()
    optimizer.backward(loss)
    optimizer.step()


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_one_step_changes_every_parameter_at_its_rate(model: Started) -> None:
    before = snapshot(model.double())
    step(build(model.parameters(), *RATES), model)
    seen = set()
    for name, parameter in model.named_parameters():
        expected = torch.full_like(parameter, -LR * rate(name))
        torch.testing.assert_close(parameter.detach() - before[name], expected, rtol=1e-5, atol=0, msg=name)
        seen.add(rate(name))
    assert seen == {1.0} | {0.5 * 0.25**k for k in range(LAYERS + 1)}


def test_weight_decay_follows_the_rate(model: Started) -> None:
    """fairseq's Adam multiplies weights by 1 - weight decay x learning rate."""
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.fill_(1.0)
    optimizer = build(model.parameters(), *RATES, "--weight-decay", "0.1")
    optimizer.zero_grad()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert float(parameter.flatten()[0]) == pytest.approx(1 - 0.1 * LR * rate(name), rel=1e-12), name


def test_without_its_options_it_is_fairseqs_adam(tmp_path: Path, write_bert: WriteBert) -> None:
    bert, results = write_bert(tmp_path), []
    for name in ("adam", "bnb_adam"):
        torch.manual_seed(1)
        model = start(bert)
        cfg = training("--adam-betas", "(0.8, 0.9)", "--weight-decay", "0.1", optimizer=name)
        optimizer = optim.build_optimizer(cfg.optimizer, list(model.parameters()))
        for seed in (1, 2):
            step(optimizer, model, seed)
        results.append(snapshot(model))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_schedules_move_all_rates_together(scheduler: str, model: Started) -> None:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates: dict[str, list[float]] = {}
    for optimizer_name, more in (("adam", ()), ("bnb_adam", RATES)):
        cfg = training(*SCHEDULES[scheduler], *more, optimizer=optimizer_name, scheduler=scheduler)
        optimizer = optim.build_optimizer(cfg.optimizer, list(model.parameters()))
        schedule = build_lr_scheduler(cfg.lr_scheduler, optimizer)
        rates[optimizer_name] = []
        for epoch in range(1, 4):
            schedule.step_begin_epoch(epoch)
            for update in range(4):
                schedule.step_update(4 * (epoch - 1) + update)
                now = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
                plain = {name: lr / rate(name) for name, lr in now.items()} if more else now
                assert max(plain.values()) == pytest.approx(min(plain.values()), rel=1e-9)
                rates[optimizer_name] += [plain["latent.projection.weight"], optimizer.get_lr()]
            schedule.step(epoch, 1.0)
    assert rates["bnb_adam"] == pytest.approx(rates["adam"], rel=1e-9)
    assert len(set(rates["adam"])) > 1


def test_rates_without_new_parameters(tmp_path: Path, write_bert: WriteBert) -> None:
    """Then no group learns at the schedule's own rate, which is still what fairseq sees."""
    model = start(write_bert(tmp_path), "bert2bert", cross_attention_init="self")
    optimizer = build(model.parameters(), *RATES)
    optimizer.set_lr(0.125)
    assert optimizer.get_lr() == pytest.approx(0.125, rel=1e-12)
    assert max(group["lr"] for group in optimizer.param_groups) == 0.125 * 0.5


def test_resumption_changes_nothing(tmp_path: Path, write_bert: WriteBert) -> None:
    bert, results = write_bert(tmp_path), []
    for resumes in (False, True):
        torch.manual_seed(1)
        model = start(bert)
        optimizer = build(model.parameters(), *RATES)
        step(optimizer, model, 1)
        if resumes:
            torch.save({"optimizer": optimizer.state_dict(), "model": model.state_dict()}, tmp_path / "checkpoint.pt")
            state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
            model = start(bert)
            model.load_state_dict(state["model"])
            optimizer = build(model.parameters(), *RATES)
            optimizer.load_state_dict(state["optimizer"], {})
        step(optimizer, model, 2)
        results.append(snapshot(model))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_resumption_takes_todays_rates(model: Started) -> None:
    """A factor above 1 would put groups in another order, if they were sorted by their rates."""
    optimizer = build(model.parameters(), *RATES)
    step(optimizer, model, 1)
    optimizer.set_lr(0.125)
    moments = {id(p): state["exp_avg"].clone() for p, state in optimizer.optimizer.state.items()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for overrides, expected in (({}, 0.125), ({"lr": 0.5, "betas": (0.5, 0.5)}, 0.5)):
        resumed = build(model.parameters(), "--bert-lr-factor", "2", "--layer-lr-decay", "0.5")
        resumed.load_state_dict(optimizer.state_dict(), overrides)
        assert resumed.get_lr() == expected
        for group in resumed.param_groups:
            assert tuple(group["betas"]) == overrides.get("betas", (0.9, 0.999))
            for parameter in group["params"]:
                assert group["lr"] == pytest.approx(expected * rate(names[id(parameter)], 2, 0.5), rel=1e-12)
                assert torch.equal(resumed.optimizer.state[parameter]["exp_avg"], moments[id(parameter)])


def test_a_checkpoint_of_other_parameters(tmp_path: Path, write_bert: WriteBert) -> None:
    bert = write_bert(tmp_path)
    saved = build(start(bert).parameters()).state_dict()
    frozen = [p for p in start(bert, freeze="encoder-embeddings").parameters() if p.requires_grad]
    with pytest.raises(ValueError, match=r"\(new, encoder.embeddings, .*--reset-optimizer$"):
        build(frozen).load_state_dict(saved)


@pytest.mark.parametrize(
    ("wrapper", "flags", "dtype"),
    [
        ("FP16Optimizer", ("--bf16",), torch.bfloat16),
        ("FP16Optimizer", ("--fp16", "--fp16-no-flatten-grads"), torch.float16),
        ("MemoryEfficientFP16Optimizer", ("--memory-efficient-fp16",), torch.float16),
        ("AMPOptimizer", ("--amp",), torch.float32),
    ],
)
def test_half_precision(wrapper: str, flags: tuple[str, ...], dtype: torch.dtype, model: Started) -> None:
    """Through fairseq's wrappers, most of which step float32 copies of the parameters."""
    with torch.no_grad():
        for parameter in model.to(dtype).parameters():
            parameter.zero_()  # small changes of large numbers would be rounded away
    cfg = training(*flags, *RATES)
    optimizer = getattr(optim, wrapper).build_optimizer(cfg, list(model.parameters()))
    optimizer.set_lr(0.125)
    assert optimizer.get_lr() == 0.125
    step(optimizer, model)
    for name, parameter in model.named_parameters():
        changes = -0.125 * rate(name)
        assert float(parameter.flatten()[0]) == pytest.approx(changes, rel=0.01), name
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.get_lr() == 0.125


@pytest.mark.parametrize(
    ("more", "problems"),
    [
        (("--bert-lr-factor", "0"), ["--bert-lr-factor must be positive"]),
        (("--layer-lr-decay", "1.5"), ["--layer-lr-decay must lie in (0, 1], but is 1.5"]),
        (
            ("--layer-lr-decay", "0", "--bert-lr-factor=-1"),
            ["--bert-lr-factor must be positive", "--layer-lr-decay must lie in (0, 1], but is 0.0"],
        ),
    ],
)
def test_bad_rates(more: tuple[str, ...], problems: list[str], model: Started) -> None:
    with pytest.raises(ValueError, match=r"^bnb_adam: ") as refusal:
        build(model.parameters(), *more)
    found = str(refusal.value).removeprefix("bnb_adam: ").split("; ")
    assert len(found) == len(problems)
    assert all(mine.startswith(expected) for mine, expected in zip(found, problems, strict=True))


def test_rates_that_nothing_would_read(make_model: Callable[..., nn.Module]) -> None:
    """A model without a BERT, and what --fp16 gives the optimizer: one vector of all parameters."""
    vector = nn.Parameter(torch.zeros(5))
    for parameters in (list(make_model().parameters()), [{0: vector}]):
        for option, value in (("--bert-lr-factor", "0.5"), ("--layer-lr-decay", "0.9")):
            message = rf"^bnb_adam: {option} must be 1 .*--fp16.* {value}$"
            with pytest.raises(ValueError, match=message):
                optim.build_optimizer(training(option, value).optimizer, parameters)
        assert isinstance(optim.build_optimizer(training().optimizer, parameters), BnbAdam)


@pytest.mark.parametrize("option", ["--bert-lr-factor", "--layer-lr-decay"])
def test_other_optimizers_do_not_take_the_options(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        training(option, "0.5", optimizer="adam")
    assert f"unrecognized arguments: {option} 0.5" in capsys.readouterr().err


def test_the_log_tells_the_rates(model: Started, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="bnb_fairseq"):
        build(model.parameters(), *RATES)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == LAYERS + 2
    assert lines[0].startswith("learning rate x 1: new (")
    head = sum(p.numel() for n, p in model.named_parameters() if rate(n) == 0.5)
    assert lines[1] == f"learning rate x 0.5: encoder.layers.3, decoder.layers.3, decoder.head ({head:,} parameters)"
    assert lines[2].startswith("learning rate x 0.125: encoder.layers.2, decoder.layers.2 (")
    assert lines[-1].startswith("learning rate x 0.00195312: encoder.embeddings, decoder.embeddings (")
    counts = [int(re.findall(r"\(([\d,]+) parameters\)", line)[0].replace(",", "")) for line in lines]
    assert sum(counts) == sum(p.numel() for p in model.parameters())
