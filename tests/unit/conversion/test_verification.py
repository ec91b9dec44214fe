"""Numbers that the original printed against ours: the comparison and its table."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bnb_fairseq.conversion import verification

from ...facts import naming

SEED = Path(__file__).resolve().parents[2] / "fixtures" / "seed-checkpoint"
CONFIG = json.loads((SEED / "config.json").read_text())


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "difference", "relative", "ok"),
    [
        ("logits", [1.0, 2.0], [1.0, 2.25], 0.25, None, True),
        ("logits", [1.0, 2.0], [1.0, 2.5], 0.5, None, False),
        ("logits", [1.0, float("nan")], [1.0, 2.0], float("nan"), None, False),
        ("argmax", [1, 2, 3], [1, 3, 2], 2, None, False),
        ("argmax", [1, 2, 3], [1, 2, 3], 0, None, True),
        ("ctc_loss", [-8.0], [-8.0], 0.0, 0.0, True),
        ("kl_vae", [8.0], [-4.0], 12.0, 3.0, False),
        ("kl_uniform", [1.0 + 2**-18], [1.0], 2**-18, 2**-18, True),
        ("kl_uniform", [1.0 + 2**-16], [1.0], 2**-16, 2**-16, False),
        ("ctc_loss", [float("nan")], [1.0], float("nan"), float("nan"), False),
    ],
)
def test_comparison(
    name: str,
    ours: list[float],
    theirs: list[float],
    difference: float,
    relative: float | None,
    ok: bool,
) -> None:
    row = verification.compare(name, torch.tensor(ours), torch.tensor(theirs), 0.25)
    assert row.shape == (len(ours),)
    assert row.difference == pytest.approx(difference, nan_ok=True, rel=0, abs=0)
    assert (row.relative is None) == (relative is None)
    if relative is not None:
        assert row.relative == pytest.approx(relative, nan_ok=True, rel=0, abs=0)
    assert row.ok == ok


def test_table() -> None:
    row = verification.Row
    logits, argmax = row("logits", (5, 24, 110), 1.5e-6, None, 1e-4), row("argmax", (5, 24), 3.0, None, 0.0)
    lines = verification.table([logits, argmax, row("ctc_loss", (1,), 0.02, 0.001, 1e-5)])
    assert lines == [
        "tensor          shape             difference    relative   tolerance  ok",
        "logits          5 x 24 x 110        1.50e-06                   1e-04  yes",
        "argmax          5 x 24                     3                   0e+00  NO",
        "ctc_loss        1                   2.00e-02    1.00e-03       1e-05  NO",
    ]


def spoil(tensors: dict[str, Tensor]) -> None:
    del tensors["kl_vae"], tensors["labels"]
    tensors["token_type_ids"] = torch.zeros(5, 24)
    tensors["attention_mask"][2, -1] = 1


def to_left(tensors: dict[str, Tensor]) -> None:
    for name in ("input_ids", "attention_mask"):
        tensors[name] = tensors[name].flip(1).contiguous()


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (
            spoil,
            [
                "labels is missing",
                "kl_vae is missing",
                "token_type_ids is unknown",
                "attention_mask ... input_ids ... [PAD] (0)",
            ],
        ),
        (to_left, ["attention_mask ... input_ids ... [PAD] (0)"]),
        (lambda t: t["labels"].add_(110), ["labels ... 0 and 109 ... 213"]),
        (
            lambda t: t.update(input_ids=t["input_ids"].float()),
            ["input_ids ... attention_mask ... int64"],
        ),
        (
            lambda t: t.update(logits=torch.zeros(5, 24, 109), latent=torch.zeros(5, 24, 8)),
            [
                "latent ... (5, 24, 8) ... (5, 24, 16)",
                "logits ... (5, 24, 109) ... (5, 24, 110)",
            ],
        ),
    ],
)
def test_inputs_that_do_not_fit_are_in_one_error(
    change: Callable[[dict[str, Tensor]], object], problems: list[str], tmp_path: Path
) -> None:
    tensors = load_file(SEED / "expected.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=naming(f"{tmp_path}/x.safetensors: {problems[0]}", *problems[1:])):
        verification.verify(SEED, tmp_path / "x.safetensors", 1e-4)


def test_verification_of_the_fixture(tmp_path: Path) -> None:
    rows = verification.verify(SEED, SEED / "expected.safetensors", 1e-5)
    assert [row.name for row in rows] == [
        "encoder_hidden",
        "latent",
        "logits",
        "argmax",
        "ctc_loss",
        "kl_uniform",
        "kl_vae",
    ]
    assert all(row.ok for row in rows), verification.table(rows)
    shutil.copytree(SEED, tmp_path / "vae")
    (tmp_path / "vae" / "config.json").write_text(json.dumps({**CONFIG, "is_vae": True, "dropout_prob": 0.5}))
    assert verification.verify(tmp_path / "vae", SEED / "expected.safetensors", 1e-5) == rows
