"""What building a model needs of a task."""

from collections.abc import Sequence
from typing import Protocol

from ..data.dictionary import BnbDictionary


class TaskWithDictionaries(Protocol):
    """What the model needs of a fairseq task."""

    @property
    def source_dictionary(self) -> BnbDictionary:
        """The source dictionary."""

    @property
    def target_dictionary(self) -> BnbDictionary:
        """The target dictionary."""


def require_own_task(arch: str, task: object, dictionaries: Sequence[object], usual: str = "translation_bnb") -> None:
    """Refuse fairseq's own tasks: their dictionaries have other ids than a BERT, and they load no BERT into a model.

    Args:
        arch: the model.
        task: the task that is to build it.
        dictionaries: those of the task that the model uses.
        usual: the task of this package that is recommended.

    Raises:
        ValueError: naming ``--task``, what it must be and what it is.
    """
    if all(isinstance(dictionary, BnbDictionary) for dictionary in dictionaries):
        return
    name = getattr(getattr(task, "cfg", None), "_name", None) or type(task).__name__
    raise ValueError(f"--task must be {usual} or another task of bnb_fairseq for --arch {arch}, but is {name}")
