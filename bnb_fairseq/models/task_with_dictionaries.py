"""The dictionaries that a model needs of its task."""

from collections.abc import Sequence
from typing import Protocol

from ..data.dictionary import BnbDictionary


class TaskWithDictionaries(Protocol):
    """A fairseq task that a model can be built with."""

    @property
    def source_dictionary(self) -> BnbDictionary:
        """The source dictionary."""

    @property
    def target_dictionary(self) -> BnbDictionary:
        """The target dictionary."""


def require_own_task(arch: str, task: object, dictionaries: Sequence[object], usual: str = "translation_bnb") -> None:
    """Refuse fairseq's own tasks: their dictionaries have other ids than a BERT's, and they load no BERT.

    Args:
        arch: the model.
        task: the task that builds it.
        dictionaries: those of the task that the model uses.
        usual: the task to recommend.

    Raises:
        ValueError: naming ``--task``, what it must be and what it is.
    """
    if all(isinstance(dictionary, BnbDictionary) for dictionary in dictionaries):
        return
    name = getattr(getattr(task, "cfg", None), "_name", None) or type(task).__name__
    raise ValueError(f"--task must be {usual} or another task of bnb_fairseq for --arch {arch}, but is {name}")
