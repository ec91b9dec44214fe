"""Encoded source sentences, which the encoder passes to the decoder."""

from typing import NamedTuple

from torch import Tensor

from ..modules.inference import SourceMemory
from ..modules.latent import Posterior


class Encoded(NamedTuple):
    """Encoded source sentences.

    Attributes:
        states: S x B x D.
        padding: B x S, True at padding.
        lengths: B, true source lengths.
        posterior: of the latent.
        memory: the states as the decoder's cross-attention reads them; None unless the model is prepared for inference.
    """

    states: Tensor
    padding: Tensor
    lengths: Tensor
    posterior: Posterior
    memory: SourceMemory | None

    def selected(self, rows: Tensor) -> "Encoded":
        """The encoded sentences ``rows`` (N), which may repeat."""
        mean, log_variance = self.posterior
        return Encoded(
            self.states.index_select(1, rows),
            self.padding.index_select(0, rows),
            self.lengths.index_select(0, rows),
            Posterior(mean.index_select(0, rows), None if log_variance is None else log_variance.index_select(0, rows)),
            None if self.memory is None else self.memory.selected(rows),
        )
