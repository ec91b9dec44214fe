"""What the original code computes for AXE and OAXE, and the log-probabilities it computes them from.

The numbers were printed by aistairc/BERT-NAR-BERT, commit ac2cb53, in float32.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from bnb_fairseq.losses.packing import Packing
from bnb_fairseq.losses.token import chosen_log_probs

EXPECTED = Path(__file__).parents[2] / "fixtures" / "alignment_losses.safetensors"
BLANK = 0


class Case(NamedTuple):
    """One batch; ``expected`` holds the original code's losses by name."""

    scores: Tensor
    blank_scores: Tensor
    lengths: Tensor
    expected: dict[str, float]


def read_case(size: str) -> Case:
    tensors = {name.removeprefix(f"{size}."): tensor for name, tensor in load_file(EXPECTED).items() if size in name}
    lengths, targets, logits = (tensors.pop(name) for name in ("lengths", "targets", "logits"))
    packing = Packing(torch.arange(targets.size(1)) < lengths.unsqueeze(1))
    words = packing.repeated(torch.cat([targets, torch.full_like(targets[:, :1], BLANK)], dim=1))
    flat = torch.cat([sentence[:length] for sentence, length in zip(logits, lengths.tolist(), strict=True)])
    scores = packing.packed(chosen_log_probs(flat, words).chosen)
    expected = {name: float(value) for name, value in tensors.items()}
    return Case(scores[..., :-1], scores[..., -1], lengths, expected)
