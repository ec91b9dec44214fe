"""Running the application until a signal ends it."""

import asyncio
import signal
import socket
import sys
import time
from types import FrameType
from urllib.parse import urlunsplit

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .gate import Gate

LULL = 0.5  # seconds for which new requests are refused, before connections are closed
KEEP_ALIVE = 30  # seconds for which an idle connection stays open


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose request does not begin, or whose head takes too long.

    Attributes:
        head_timeout: seconds.
    """

    head_timeout = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._head = self.loop.call_later(self.head_timeout, self._close)

    def data_received(self, data: bytes) -> None:
        """Read; a head that has begun must end in time."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._head.cancel()
        elif self._head.cancelled():
            self._head = self.loop.call_later(self.head_timeout, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._head.cancel()
        super().connection_lost(exc)

    def _close(self) -> None:
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self.transport.close()


class Server(uvicorn.Server):
    """A server that answers what has come before it ends.

    Args:
        config: of uvicorn.
        gate: the application.
    """

    def __init__(self, config: uvicorn.Config, gate: Gate) -> None:
        super().__init__(config)
        self._gate = gate
        self._ended_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second signal ends at once what still runs."""
        if sig == signal.SIGINT:
            self._captured_signals.append(sig)
        if self._gate.ending or self._loop is None:
            self.should_exit = self.force_exit = True
        else:
            self._loop.call_soon_threadsafe(self._begin_to_end)

    def _begin_to_end(self) -> None:
        """Take no new connections; connections that are open learn it by the answers to their next requests."""
        self._gate.ending, self._ended_at = True, time.monotonic()
        for server in getattr(self, "servers", []):  # none before it listens
            server.close()
        self.should_exit = not self.started

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end: requests are answered, and clients had time to learn of it."""
        ended = await super().on_tick(counter)
        done = self._gate.ending and not self._gate.running
        return ended or (done and time.monotonic() - self._ended_at > LULL)

    def _log_started_message(self, listeners: object) -> None:
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        address = urlunsplit(("http", f"{shown}:{port}", "/", "", ""))
        print(f"bnb-serve: listening on {address}", file=sys.stderr, flush=True)


def serve(gate: Gate, host: str, port: int, head_timeout: float) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        gate: the application.
        host: address to listen on.
        port: port to listen on; 0: any that is free.
        head_timeout: seconds in which the head of a request must arrive.

    Raises:
        KeyboardInterrupt: after SIGINT, once running requests are answered.
        OSError: if the address cannot be listened on.
    """
    protocol = type("Protocol", (TimedProtocol,), {"head_timeout": head_timeout})
    config = uvicorn.Config(
        gate,
        host,
        port,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
    )
    try:
        Server(config, gate).run()
    except SystemExit as error:
        raise OSError(f"--host {host} --port {port}: cannot be listened on") from error
