"""Middleware of all routes: counters, headers, errors as JSON, and the end of the server."""

import logging
import time
import traceback
from collections.abc import Iterable

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .counters import Metrics
from .limits import RequestError

logger = logging.getLogger(__name__)

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
]
ALWAYS = ("/health", "/ready", "/metrics")  # answered until the end, and beside any number of other requests
RETRY_AFTER = 1  # seconds; another server may have begun, or others have their answers
FAILED = "the server failed"
CLOSED = 499  # status of a request whose client went before its answer, in counters


def failure(error: RequestError) -> JSONResponse:
    """Return the answer to a request that fails."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": error.message}, error.status, headers)


class Gate:
    """An application behind counters, headers and errors.

    Args:
        app: the application.
        metrics: counts requests.
        routes: paths that are counted by their names, all others together.
        most: requests that are answered at the same time.
        log: write a line for each request: method, route, status, milliseconds.

    Attributes:
        running: requests that are being answered.
        ending: True: the server is about to end; new requests are refused.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Iterable[str], most: int, log: bool) -> None:
        self._app, self._metrics, self._routes = app, metrics, frozenset(routes)
        self._most, self._log = most, log
        self.running = 0
        self.ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS, *([(b"connection", b"close")] * self.ending)]
            await send(message)

        self.running += 1
        self._metrics.running.inc()
        try:
            self._admit(scope["path"])
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            status = status or CLOSED
        except Exception as error:
            if not isinstance(error, RequestError):
                logger.error("%s", _place(error))
                error = RequestError(500, FAILED)
            if not status:
                await failure(error)(scope, receive, watched)
        finally:
            self.running -= 1
            self._metrics.running.dec()
            self._note(scope, status or CLOSED, time.monotonic() - begun)

    def _admit(self, path: str) -> None:
        """Refuse a request by a RequestError, before its body is read, while the server ends or has too many."""
        if path in ALWAYS:
            return
        if self.ending:
            raise RequestError(503, "the server ends; try again", RETRY_AFTER)
        if self.running > self._most:
            message = f"requests at the same time must be at most {self._most:,}, but are more; try again"
            raise RequestError(503, message, RETRY_AFTER)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope["path"] if scope["path"] in self._routes else "other"
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if self._log:
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
            logger.warning("%s %s %d %.1f ms", method, route, status, seconds * 1000)


def _place(error: Exception) -> str:
    """Return an error's type and where it was raised; its message may have a client's text."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    return f"{type(error).__name__} at {' < '.join(reversed(places[-5:]))}"
