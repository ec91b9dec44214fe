"""The canvas that a seed checkpoint is given."""

import json
from pathlib import Path

import pytest

from bnb_fairseq.conversion import seed

SEED = Path(__file__).resolve().parents[2] / "fixtures" / "seed-checkpoint"
CONFIG = json.loads((SEED / "config.json").read_text())


@pytest.mark.parametrize(("wanted", "expected"), [(None, 64), (1, 1), (24, 24), (64, 64)])
def test_canvas_length(wanted: int | None, expected: int) -> None:
    assert seed.canvas_length(CONFIG, wanted) == expected


def test_canvas_length_of_a_large_model_and_beyond_the_positions() -> None:
    sides = {side: {**CONFIG[side], "max_position_embeddings": n} for side, n in (("encoder", 512), ("decoder", 130))}
    assert seed.canvas_length({**CONFIG, **sides}, None) == 128
    for wanted in (0, -3, 131):
        message = f"^--canvas-length must lie between 1 and the checkpoint's 130 positions, but is {wanted}$"
        with pytest.raises(ValueError, match=message):
            seed.canvas_length({**CONFIG, **sides}, wanted)
