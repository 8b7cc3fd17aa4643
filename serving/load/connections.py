"""Connections in bounds, which uvicorn leaves open: how many, how long for a request head, how long for a slow reader."""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import struct
import sys
import termios
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import Any

import h11
from h11._connection import DEFAULT_MAX_INCOMPLETE_EVENT_SIZE
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.errors import HeadTooLarge, HeadTooSlow, MalformedRequest, ServiceError
from serving.load.sharing import own_share
from serving.load.turns import TURNS
from serving.reply.problems import PROBLEM, document, new_request_id
from serving.settings import Settings

STATE = "connection_limits"
"""Where the lifespan of the application puts its ``ConnectionLimits``, for the protocol to find."""


REFUSALS = "connection_refusals"
"""Where it puts what counts refusals: these happen before there is a request that the application could count."""


_LINGER_SECONDS = 5.0
"""How long a client that still sends when all is said may go on, so that it comes to read what was said."""

_LINGER_BYTES = 16 << 20
"""And how much it may send meanwhile."""

_DROPPED = bytearray(1 << 16)
"""Where all of that goes; nobody reads it."""


_LENGTHS = {b"content-length", b"transfer-encoding"}
"""Headers that each say where a body ends: of a request with both, a proxy may have gone by the other (RFC 9112, 6.1)."""


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of connections; seconds are those of silence or slowness that are borne."""

    connections: int
    request_seconds: float
    stall_seconds: float


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The limits that the settings name."""
    return ConnectionLimits(settings.connections, settings.request_seconds, settings.stall_seconds)


class BoundedConnection(h11.Connection):
    """HTTP/1.1 by h11, which compares only heads that have not ended with its limit: here a whole one is refused, too."""

    def __init__(self, limit: int) -> None:
        super().__init__(h11.SERVER, limit)
        self.limit = limit
        self.head_bytes = 0
        """The length of the head that was read last, or what has come of it."""

    def next_event(self) -> Any:  # noqa: ANN401  # h11's own
        """The next event.

        Raises:
            h11.RemoteProtocolError: what came is no HTTP, or a head above the limit, or a body of two lengths.
        """
        if self.their_state is not h11.IDLE:
            return super().next_event()
        received = self.trailing_data[0]
        if received.startswith(b"\r\n"):  # some clients end a body by it (RFC 9112, 2.2)
            self._receive_buffer.maybe_extract_lines()  # takes that line away
            received = received[2:]
        self.head_bytes = len(received)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.head_bytes -= len(self.trailing_data[0])
            if self.head_bytes > self.limit:
                raise h11.RemoteProtocolError("the head is too long", error_status_hint=431)
            chunked = b"transfer-encoding" in received[: self.head_bytes].lower()  # found sooner than in the headers
            if chunked and {name for name, _ in event.headers} >= _LENGTHS:
                raise h11.RemoteProtocolError("a body of two lengths")
        return event


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 by uvicorn, without patience for heads that do not end and for readers that do not read."""

    transport: asyncio.Transport
    conn: BoundedConnection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; when there are too many, the one that has waited longest for its client makes room."""
        super().connection_made(transport)
        self.conn = BoundedConnection(self.config.h11_max_incomplete_event_size or DEFAULT_MAX_INCOMPLETE_EVENT_SIZE)
        self._limits: ConnectionLimits = self.app_state[STATE]
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self.waiting_since = monotonic()
        """When its client's turn came last, to send a request or to take more of an answer."""
        self._unread = False
        """Whether its last answer was sent before the client had sent all of its request."""
        self._expect_head()
        _tell(len(self.connections))
        if len(self.connections) > self._limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection and its timers."""
        self._cancel_head()
        self._cancel_stall()
        super().connection_lost(exc)
        if self._unread and exc is None:
            with suppress(OSError):  # the client has reset it, or no handle is left
                client = self.transport.get_extra_info("socket")
                client.shutdown(socket.SHUT_WR)
                Lingering(client.dup(), self.connections)
        _tell(len(self.connections))

    def data_received(self, data: bytes) -> None:
        """Read; a head that has begun has to end in time."""
        super().data_received(data)
        if not self.idle:
            self._cancel_head()
            self._reset_if_cut(True)
        elif self._head_timer is None and not self.transport.is_closing():
            self._expect_head()

    def on_response_complete(self) -> None:
        """Wait for the next request of the connection."""
        self.waiting_since = monotonic()
        self._unread = self.transport.is_closing() and self.conn.their_state is h11.SEND_BODY
        self._reset_if_cut(False)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client does not take what was sent to it: it has some time to do so."""
        super().pause_writing()
        self.waiting_since = monotonic()
        self._watch_for_stall()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._cancel_stall()
        super().resume_writing()

    def _should_upgrade(self) -> bool:
        """Never: who asks for a WebSocket or another protocol is answered in this one (RFC 9110, 7.8), and that is no warning."""
        return False

    def send_400_response(self, msg: str) -> None:
        """Tell what was wrong with a head or a body that could not be read, and close."""
        limit, found = self.conn.limit, self.conn.head_bytes
        self._refuse(HeadTooLarge(limit, found) if found > limit else MalformedRequest())

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def waiting(self) -> bool:
        """Whether it is the client's turn: to begin a request, to send the rest of its body, or to take more of the answer."""
        return self.idle or self.conn.their_state is h11.SEND_BODY or self.flow.write_paused

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._limits.request_seconds, self._head_due)

    def _head_due(self) -> None:
        self.app_state[TURNS].take(partial(self._head_late, self._head_timer))

    def _head_late(self, timer: asyncio.TimerHandle | None) -> None:
        if self._head_timer is not timer:  # the head has ended while this waited for its turn
            return
        self._head_timer = None
        if not self.idle or self.transport.is_closing():
            return
        if self.conn.trailing_data[0]:
            self._refuse(HeadTooSlow(self._limits.request_seconds))
        else:
            self.transport.close()

    def _reset_if_cut(self, on: bool) -> None:
        """Have the system reset the connection if it ends from now on, also by the end of this process; or no more.

        HTTP/1.0 has no chunks: a streamed answer ends with its connection, and one that was cut would look whole.
        """
        if self.conn.their_http_version == b"1.0":
            linger = struct.pack("ii", on, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _watch_for_stall(self) -> None:
        self._stall_timer = self.loop.call_later(self._limits.stall_seconds, self._stalled, self._untaken())

    def _untaken(self) -> int:
        """Bytes that the client has not taken: those in this process, and those that the system keeps for it."""
        system = fcntl.ioctl(self.transport.get_extra_info("socket"), termios.TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(system, sys.byteorder)

    def _stalled(self, before: int) -> None:
        if self._untaken() < before:  # slow, but it takes
            self._watch_for_stall()
            return
        self.logger.warning(
            "a client took nothing for %g s (setting stall_seconds): cut off", self._limits.stall_seconds
        )
        self.abort()

    def abort(self) -> None:
        """End the connection at once, also where the client has not taken the last of an answer yet."""
        self._unread = False
        self._reset_if_cut(True)
        self.transport.abort()

    def _cancel_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cancel_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _make_room(self) -> None:
        known = [other for other in self.connections if isinstance(other, BoundedProtocol | Lingering)]
        oldest = min((other for other in known if other.waiting), key=lambda other: other.waiting_since)
        self.logger.warning("more than %d connections (setting connections): one was closed", self._limits.connections)
        oldest.abort()

    def _refuse(self, error: ServiceError) -> None:
        """Answer with a problem document and close, where the application has not begun to: it may still wait for the body."""
        if self.transport.is_closing() or (not self.idle and self.cycle.response_started):
            self.abort()
            return
        if not self.idle:
            self.cycle.disconnected = True  # what it says from now on is not sent
            self.cycle.message_event.set()
        request_id = new_request_id()
        self.logger.info("request %s: %d %s", request_id, error.status, error.detail)
        self.app_state[REFUSALS](error.code)
        body = json.dumps(document(error, request_id)).encode()
        headers = [("Content-Type", PROBLEM), ("Content-Length", str(len(body))), ("X-Request-Id", request_id)]
        status = HTTPStatus(error.status)
        head = h11.Response(
            status_code=status, headers=[*headers, ("Connection", "close")], reason=status.phrase.encode()
        )
        events: tuple[Any, ...] = (head, h11.Data(data=body), h11.EndOfMessage())
        with suppress(h11.LocalProtocolError):  # the last answer was said to be the last: then there is nothing to say
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self._unread = True
        self.transport.close()


class Lingering:
    """What is left of a connection whose client still sends when all is said: what comes is dropped until it closes, too.

    Input that nobody reads makes the system reset a connection that is closed, and by that a client loses an answer that it
    has not read yet (RFC 9112, 9.6).
    """

    waiting = True

    def __init__(self, client: socket.socket, connections: set[Any]) -> None:
        """``client``: its socket, for reading only, which stays open when the connection is closed."""
        self._client = client
        self._connections = connections
        self._bytes = 0
        self.waiting_since = monotonic()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_LINGER_SECONDS, self.abort)
        self._loop.add_reader(client, self._drop)
        connections.add(self)

    def _drop(self) -> None:
        size = 0
        with suppress(OSError):  # the client has reset it
            size = self._client.recv_into(_DROPPED)
        self._bytes += size
        if not size or self._bytes > _LINGER_BYTES:
            self.abort()

    def abort(self) -> None:
        """End it at once."""
        self._timer.cancel()
        self._loop.remove_reader(self._client)
        self._client.close()
        self._connections.discard(self)
        _tell(len(self._connections))

    shutdown = abort
    """What uvicorn calls when the service stops."""


def _tell(count: int) -> None:
    """Let other workers know how many connections this one has."""
    share = own_share()
    if share is not None:
        share.connections = count
