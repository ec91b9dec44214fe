"""Models whose precision is their own, whatever the process multiplies in."""

from typing import Any

from fairseq.models import BaseFairseqModel

from ..torch_compat import matmul_precision


class OwnPrecision(BaseFairseqModel):
    """Stands in front of one of fairseq's models among a model's base classes.

    Attributes:
        matmul_precision: of its task, see ``torch.set_float32_matmul_precision``.
    """

    matmul_precision: str = "highest"

    def make_generation_fast_(self, **options: Any) -> None:
        """Replace layers by those for inference, which keep the precision."""
        if "name" in options:  # fairseq visits every part of a model; this one's are visited for the whole, too
            return
        with matmul_precision(self.matmul_precision):
            super().make_generation_fast_(**options)
