"""Who may ask, and how often."""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .limits import RequestError

MOST_COUNTED = 10_000  # keys or addresses whose requests are counted
MINUTE = 60.0


def read_keys(path: Path) -> list[str]:
    """Read a file of API keys, one on a line; lines that begin with # are comments.

    Args:
        path: the file.

    Returns:
        The keys, at least one.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it has no key, or is not UTF-8.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"--api-keys {path}: must be UTF-8, but is not") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ValueError(f"--api-keys {path}: must have a key on a line of its own, but has none")
    return keys


class Keys:
    """The keys of a server.

    Args:
        keys: the keys; none: everybody may ask.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, key: str | None) -> None:
        """Check the key of a request, in a time that does not depend on it.

        Args:
            key: the key; None: the request has none.

        Raises:
            RequestError: if there are keys, and it is none of them.
        """
        if not self._digests:
            return
        if key is None:
            raise RequestError(401, "api_key must be given, but is missing")
        given = _digest(key)
        if not sum(hmac.compare_digest(given, digest) for digest in self._digests):
            raise RequestError(403, "api_key must be one that the server knows, but is another one")


def _digest(key: str) -> bytes:
    """Return 32 bytes for a key of any length."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def given_key(headers: Mapping[str, str]) -> str | None:
    """Return the key that stands in a request's head, None if there is none."""
    kind, _, key = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key")


class Rate:
    """Counts the requests of each key or address, which may come in a burst of a minute's number.

    Args:
        most: requests in a minute; 0: as many as they like.
        clock: seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # requests, and when that was

    def count(self, name: str) -> None:
        """Count a request.

        Args:
            name: of who asks.

        Raises:
            RequestError: if it is one too many.
        """
        if not self._most:
            return
        now = self._clock()
        left, then = self._left.pop(name, (float(self._most), now))
        left = min(left + (now - then) * self._most / MINUTE, float(self._most))
        self._left[name] = (left - 1 if left >= 1 else left, now)
        while len(self._left) > MOST_COUNTED:
            self._left.popitem(last=False)
        if left < 1:
            seconds = int((1 - left) * MINUTE / self._most) + 1
            raise RequestError(429, f"requests must be at most {self._most} in a minute, but are more", seconds)
