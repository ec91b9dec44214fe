"""In which precision a training step multiplies."""

from collections.abc import Callable, Iterator

import pytest
import torch
from fairseq.optim import FairseqOptimizer, build_optimizer
from omegaconf import DictConfig
from torch import Tensor, nn

from bnb_fairseq import torch_compat
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from .conftest import BERT2BERT, NON_AUTOREGRESSIVE

Config = Callable[..., DictConfig]
ARCHITECTURES = {"bnb_transformer": NON_AUTOREGRESSIVE, "bert2bert": BERT2BERT}
PRECISION = "--float32-matmul-precision={}"
needs_bfloat16 = pytest.mark.skipif(
    not torch_compat._multiplies_bfloat16(), reason="this processor does not multiply bfloat16"
)


@pytest.fixture(autouse=True)
def precision_put_back() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def one_step(cfg: DictConfig) -> tuple[float, list[Tensor], set[torch.dtype]]:
    """Loss, gradients and the types of what the linear layers put out, of one step on both sentences."""
    torch.manual_seed(1)
    task = TranslationBnbTask.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    criterion = task.build_criterion(cfg.criterion)
    task.load_dataset("train")
    dataset = task.dataset("train")
    optimizer: FairseqOptimizer = build_optimizer(cfg.optimizer, list(model.parameters()))
    types: set[torch.dtype] = set()
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda _module, _inputs, output: types.add(output.dtype))
    sample = dataset.collater([dataset[0], dataset[1]])
    loss, _, _ = task.train_step(sample, model, criterion, optimizer, 0)
    trained = set(types)
    types.clear()
    task.valid_step(sample, model, criterion)
    assert types == trained, "validation multiplies as training does"
    return float(loss), [p.grad for p in model.parameters() if p.grad is not None], types


@needs_bfloat16
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_medium_precision_multiplies_in_bfloat16_and_keeps_the_rest(
    architecture: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_compat, "_gains_from_bfloat16", lambda: True)
    options = [*ARCHITECTURES[architecture], "--dropout=0", "--attention-dropout=0"]
    exact, exact_gradients, exact_types = one_step(config(*options, PRECISION.format("highest")))
    rounded, gradients, types = one_step(config(*options, PRECISION.format("medium")))
    assert torch.get_float32_matmul_precision() == "highest", "the process's own is put back"
    assert exact_types == {torch.float32}
    assert types == {torch.bfloat16}
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    assert rounded == pytest.approx(exact, rel=0.02)
    assert rounded != exact
    assert len(gradients) == len(exact_gradients)
    norms = [sum(float(g.pow(2).sum()) for g in some) ** 0.5 for some in (exact_gradients, gradients)]
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


@pytest.mark.parametrize(("precision", "gains"), [("highest", True), ("high", True), ("medium", False)])
def test_otherwise_the_criterion_is_called_as_it_is(
    precision: str, gains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_compat, "_gains_from_bfloat16", lambda: gains)
    torch.set_float32_matmul_precision(precision)
    criterion = nn.Identity()
    assert torch_compat.multiplying_in_bfloat16(criterion) is criterion


@pytest.mark.parametrize(
    ("name", "has_matrix_instruction", "gains"),
    [("Intel Xeon", False, False), ("Intel Xeon", True, True), ("AMD EPYC", False, True), ("", False, True)],
)
def test_bfloat16_serves_only_where_it_is_faster(
    name: str, has_matrix_instruction: bool, gains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"cpu_name": name, "amx_bf16": has_matrix_instruction}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    for supported in (True, False):
        monkeypatch.setattr(torch_compat, "_multiplies_bfloat16", lambda supported=supported: supported)
        assert torch_compat._gains_from_bfloat16() == (supported and gains)


def test_a_torch_that_does_not_name_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch_compat, "_multiplies_bfloat16", lambda: True)
    assert torch_compat._gains_from_bfloat16()
