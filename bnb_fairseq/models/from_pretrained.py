"""Trained models for use from Python: raw text in, detokenised text out."""

import os
from typing import TYPE_CHECKING, Any

from .own_precision import OwnPrecision

if TYPE_CHECKING:
    from ..hub.interface import BnbHubInterface


class FromPretrained(OwnPrecision):
    """A model that is loaded with its task by one call."""

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
            checkpoint_file: name in the folder; several, with ``:`` between, make an ensemble or a model and its
                reranker; None: ``model.pt``, ``checkpoint_best.pt``, ``checkpoint_last.pt`` or the only ``*.pt``.
            data_name_or_path: data-bin folder; a name that begins with a dot is taken from the checkpoint's folder.
            **options: options of the task, the model and the generation for all calls, by their field names.

        Returns:
            What translates: ``translate(sentences, **options)``, ``generate`` and the rest of fairseq's hub interface.

        Raises:
            ValueError: naming the checkpoint, folder or dictionary that is missing, or options that do not exist or
                have no effect.
        """
        from ..hub.checkpoints import find_checkpoints, load  # they need the tasks, which need the models
        from ..hub.interface import BnbHubInterface

        files = find_checkpoints(model_name_or_path, checkpoint_file)
        return BnbHubInterface(load(files, data_name_or_path, options))
