"""Limits of a server, and the errors that a client gets for what exceeds them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
        body: bytes of a request's body.
        texts: texts of a request; in HTML each text between tags is one.
        characters: characters of a request: its texts and its glossary.
        alternatives: other texts for each text.
        search: largest whole number among the options of a search, unless the folder's own is larger.
        queue: texts that wait.
        requests: requests that are read or answered at the same time.
        timeout: seconds from a request's arrival to its answer.
        body_timeout: seconds in which the head of a request, and then its body, must arrive.
        rate: requests of a key in a minute, of an address where there are no keys; 0: no limit.
    """

    body: int = 1 << 20
    texts: int = 200
    characters: int = 20_000
    alternatives: int = 10
    search: int = 20
    queue: int = 1000
    requests: int = 1000
    timeout: float = 30.0
    body_timeout: float = 10.0
    rate: int = 0


class RequestError(Exception):
    """A request that gets no translation.

    Args:
        status: of HTTP.
        message: for the client.
        retry_after: seconds after which the client may try again; None: it is not worth trying.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after
