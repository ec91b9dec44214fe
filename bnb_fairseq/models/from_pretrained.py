"""Trained models in Python: raw text in, detokenised text out."""

import os
from typing import TYPE_CHECKING, Any

from .own_precision import OwnPrecision

if TYPE_CHECKING:
    from ..hub.interface import BnbHubInterface


class FromPretrained(OwnPrecision):
    """Mixin: one call loads a model and its task."""

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str | os.PathLike[str],
        checkpoint_file: str | None = None,
        data_name_or_path: str | os.PathLike[str] = ".",
        **options: Any,
    ) -> "BnbHubInterface":
        """Load a checkpoint for translation.

        Args:
            model_name_or_path: a checkpoint, or its folder; nothing is downloaded or unpacked.
            checkpoint_file: name in the folder; several, joined by ``:``, make an ensemble or a model and its reranker;
                None: ``model.pt``, ``checkpoint_best.pt``, ``checkpoint_last.pt`` or the only ``*.pt``.
            data_name_or_path: data-bin folder; a name that begins with a dot is relative to the checkpoint's folder.
            **options: options of task, model and generation for all calls, by their field names.

        Returns:
            The interface: ``translate(sentences, **options)``, ``generate`` and the rest of fairseq's hub interface.

        Raises:
            ValueError: naming a missing checkpoint, folder or dictionary, or options that are unknown or have no
                effect.
        """
        from ..hub.checkpoints import find_checkpoints, load  # imports the tasks, which import the models
        from ..hub.interface import BnbHubInterface

        files = find_checkpoints(model_name_or_path, checkpoint_file)
        return BnbHubInterface(load(files, data_name_or_path, options))
