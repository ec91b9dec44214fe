"""BERT-NAR-BERT: non-autoregressive sequence-to-sequence models, trained as a plugin of fairseq.

Importing the package imports neither torch nor fairseq. Tasks, architectures, criterion and optimizer are registered by
``bnb_fairseq.plugin``, which fairseq imports for ``--user-dir bnb_fairseq``.

Shape letters, used throughout: B batch, S source length, T target length, A canvas (alignment) length, D model
width, Z latent width, V vocabulary, K length beam.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .translator import Translation, Translator

__version__ = "0.1.0"
__all__ = ["Translation", "Translator"]


class _Folders(list[str]):
    """The package's folders. fairseq looks a user directory up in them, and imports nothing that it finds there."""

    def __contains__(self, folder: object) -> bool:
        importlib.import_module(f"{__name__}.plugin")
        return super().__contains__(folder)


__path__ = _Folders(__path__)
if "fairseq" in sys.modules:
    importlib.import_module(f"{__name__}.plugin")


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.translator"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
