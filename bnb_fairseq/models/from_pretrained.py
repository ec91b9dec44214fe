"""fairseq's ``from_pretrained`` of the text-to-text models."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .own_precision import OwnPrecision

if TYPE_CHECKING:
    from ..translator import Translator


class FromPretrained(OwnPrecision):
    """Mixin: one call loads a model with its dictionaries."""

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str | os.PathLike[str],
        checkpoint_file: str | None = None,
        data_name_or_path: str | os.PathLike[str] = ".",
        **options: Any,
    ) -> "Translator":
        """Load a checkpoint for translation; nothing is downloaded or unpacked.

        Args:
            model_name_or_path: a checkpoint, or its folder.
            checkpoint_file: name in the folder; several, joined by ``:``, make an ensemble or a model and its reranker;
                None: ``model.pt``, ``checkpoint_best.pt``, ``checkpoint_last.pt`` or the only ``*.pt``.
            data_name_or_path: data-bin folder; a name that begins with a dot is relative to the checkpoint's folder.
            **options: see ``Translator.load``.

        Returns:
            The translator.

        Raises:
            ValueError: naming a missing checkpoint, folder or dictionary, or options that are unknown or have no
                effect.
        """
        from .. import Translator  # above models; fairseq puts this door to it on the model's class

        path = Path(model_name_or_path)
        if path.is_dir():
            files = [path] if checkpoint_file is None else [path / name for name in checkpoint_file.split(os.pathsep)]
        elif checkpoint_file is None:
            files = [path] if path.exists() else [Path(name) for name in os.fspath(path).split(os.pathsep)]
        else:
            raise ValueError(
                f"checkpoint_file must be None unless model_name_or_path is a folder, but is {checkpoint_file!r} "
                f"beside {os.fspath(path)!r}"
            )
        data = os.fspath(data_name_or_path)
        data_bin = (path if path.is_dir() else files[0].parent) / data if data.startswith(".") else Path(data)
        if not any(data_bin.glob("dict.*.txt")):
            raise ValueError(f"data_name_or_path must be a data-bin folder with dict.*.txt, but is {data_bin}")
        return Translator.load(os.pathsep.join(map(str, files)), data=data_bin, **options)
