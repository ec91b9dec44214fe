"""What building a model needs of a task."""

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
