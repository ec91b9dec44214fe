"""A scorer for the beam search that likes long texts."""

import torch
from torch import Tensor


class TokenBonus:
    """Adds the same to a text for each of its tokens: CTC by itself leaves out what it is unsure of.

    Args:
        bonus: what a token adds.
    """

    def __init__(self, bonus: float) -> None:
        self.bonus = bonus

    def start(self) -> int:
        """Return the state of the empty text; all texts have the same."""
        return 0

    def extend(self, states: Tensor, tokens: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Score each next token.

        Args:
            states: B x K, int64.
            tokens: B x k ids; not needed.
            wanted: B x K x k; its shape is that of the result.

        Returns:
            The bonus, float32, and the states behind the tokens, both B x K x k.
        """
        return torch.full(wanted.shape, self.bonus, device=wanted.device), states.unsqueeze(2).expand_as(wanted)

    def finish(self, states: Tensor) -> Tensor:
        """Score the end of texts, which adds nothing: states B x K -> B x K, float32."""
        return torch.zeros(states.shape, device=states.device)
