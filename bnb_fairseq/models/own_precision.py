"""Models with their own float32 precision, whatever the process uses."""

from typing import Any

from fairseq.models import BaseFairseqModel

from ..torch_compat import matmul_precision


class OwnPrecision(BaseFairseqModel):
    """Mixin; list it before the fairseq model.

    Attributes:
        matmul_precision: of its task, see ``torch.set_float32_matmul_precision``.
    """

    matmul_precision: str = "highest"

    def make_generation_fast_(self, **options: Any) -> None:
        """Switch to layers for inference, which keep the precision."""
        if "name" in options:  # fairseq also calls this for each submodule, which the call for the whole model covers
            return
        with matmul_precision(self.matmul_precision):
            super().make_generation_fast_(**options)
