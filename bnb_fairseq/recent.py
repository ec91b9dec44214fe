"""Things that are costly to make and were made lately."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Recent:
    """The last few things made, by what they were made for; threads may share it.

    Args:
        size: number of things to keep.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._making = threading.RLock()  # making one thing may need another

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what was made for a key, or make it.

        Args:
            key: what it is for.
            make: makes it.

        Returns:
            The thing.
        """
        with self._making:
            if key not in self._kept:
                self._kept[key] = make()
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
            return self._kept[key]
