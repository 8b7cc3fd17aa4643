"""``python -m serving.load.heavy_process SOCKET``: answers heavy requests. The service starts it (``heavy_keeper``).

It has a store of its own over the same lake and the same local copy, yields to every worker, and ends with its standard input: that
is, with the service, however that ends. Each task comes over a connection of its own; a worker that hangs up ends the task.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import logging.config
import os
import pickle
import signal
import socket
import sys
import threading
import time

from starlette.responses import Response

from serving.errors import ServiceError
from serving.load.budget import Budget, Watchdog
from serving.load.ending import end_within
from serving.load.handles import ADVICE, raise_limit
from serving.load.heavy import LENGTH, End, Reply, Task, packed
from serving.load.last import come_last, keep_going
from serving.logs import log_config
from serving.reply.answers import answer_ctr
from serving.reply.encode import Last, Stream
from serving.settings import handed_down
from serving.state.store import Store

logger = logging.getLogger(__name__)

_END_SECONDS = 4.0
"""How long the process may take to end."""

_WAITING = 128
"""Connections that may wait to be taken."""

_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What the system says of a connection that it has no room for: it may have in a moment."""

_FULL_SECONDS = 0.2
"""How long after that one is taken again."""


class Link:
    """One connection of a worker: its task comes over it, the answer goes."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def task(self) -> Task:
        """The task.

        Raises:
            EOFError: the worker has hung up before it was whole.
        """
        with self._socket.makefile("rb") as file:
            (length,) = LENGTH.unpack(_whole(file.read(LENGTH.size), LENGTH.size))
            task = pickle.loads(_whole(file.read(length), length))
        assert isinstance(task, Task)
        return task

    def send(self, value: object) -> None:
        """Say something."""
        self._socket.sendall(packed(value))

    def send_bytes(self, data: bytes) -> None:
        """Say bytes; none: that was all of them."""
        self._socket.sendall(LENGTH.pack(len(data)))
        self._socket.sendall(data)

    @property
    def hung_up(self) -> bool:
        """Whether the worker is gone. It says nothing after its task, so there is nothing to read but the end."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def _whole(data: bytes, length: int) -> bytes:
    if len(data) < length:
        raise EOFError
    return data


class HeavyBudget(Budget):
    """The budget of a task, which is over as soon as the worker has hung up: the watchdog looks."""

    def __init__(self, watchdog: Watchdog, task: Task, link: Link) -> None:
        super().__init__(watchdog, task.seconds, task.rows)
        self._link = link

    @property
    def over(self) -> bool:
        """Whether the query has to end."""
        self.cancelled = self.cancelled or self._link.hung_up
        return super().over


def main(arguments: list[str]) -> int:
    """Serve tasks until the standard input ends."""
    for number in (
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGTERM,
    ):  # meant for the service, which lets running answers finish first
        signal.signal(number, signal.SIG_IGN)
    logging.config.dictConfig(log_config())
    come_last()
    raise_limit()
    settings = handed_down()
    store, watchdog = Store(settings.of_heavy_process(), worker=False), Watchdog()
    # Not in the threads that may wait for the lake: whatever that does, the end of the input is heard.
    threading.Thread(target=_listen, args=(arguments[0], store, watchdog, settings.poll_seconds), daemon=True).start()
    threading.Thread(target=keep_going, args=(lambda: watchdog.at_work,), daemon=True).start()
    sys.stdin.buffer.read()
    end_within(_END_SECONDS)
    watchdog.close()
    store.close()
    return 0


def _listen(address: str, store: Store, watchdog: Watchdog, seconds: float) -> None:
    """Take tasks from the first look at the lake on. A process that can take none ends: another one is started."""
    store.poll()
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(_WAITING)
            threading.Thread(target=_follow, args=(store, seconds), daemon=True).start()
            _accept(listener, store, watchdog)
    except OSError as error:
        logger.error("the heavy process can take no task: %s", error)
        os._exit(1)


def _follow(store: Store, seconds: float) -> None:
    """Look at the lake again and again, whatever comes of one look."""
    while True:
        time.sleep(seconds)
        try:
            store.poll()
        except Exception:
            logger.exception("a look at the lake failed; the next one follows")


def _accept(listener: socket.socket, store: Store, watchdog: Watchdog) -> None:
    """A thread for each task; workers send no more at once than ``heavy_queries`` and ``streams`` allow."""
    full = False
    while True:
        try:
            connected, _ = listener.accept()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            if not full:
                logger.error("no heavy request can be taken now: %s; if file handles lack: %s", error, ADVICE)
            full = True
            time.sleep(_FULL_SECONDS)
            continue
        full = False
        threading.Thread(target=_serve, args=(Link(connected), store, watchdog), daemon=True).start()


def _serve(link: Link, store: Store, watchdog: Watchdog) -> None:
    """One task, from its arrival to the last byte of its answer."""
    with contextlib.closing(link), contextlib.suppress(EOFError, OSError):  # the worker has hung up
        task = link.task()
        store.catch_up(task.version)
        budget = HeavyBudget(watchdog, task, link)
        try:
            response = answer_ctr(store, task.request, task.if_none_match, task.stream_rows, budget)
        except Exception as error:
            link.send(_told(error, store))
        else:
            _send(link, response, store)


def _send(link: Link, response: Response, store: Store) -> None:
    headers = dict(response.headers)
    if not isinstance(response, Stream):
        link.send(Reply(response.status_code, headers, bytes(response.body)))
        return
    try:
        link.send(Reply(response.status_code, headers, None))
        link.send(_stream(link, response, store))
    finally:
        response.close()


def _stream(link: Link, response: Stream, store: Store) -> End:
    """Send the pieces of an answer, and an empty one; how that ended."""
    rows, failure = None, None
    while True:
        try:
            piece = next(response.chunks, None)
        except Exception as error:
            piece, failure = None, _told(error, store)
        if piece is None:
            link.send_bytes(b"")
            return End(rows, failure)
        if isinstance(piece, Last):
            rows = piece.rows
        if piece:
            link.send_bytes(piece)


def _told(error: Exception, store: Store) -> ServiceError:
    """What a worker is told of a failure, and the log of what is a defect: what the end of the service broke off is none."""
    if isinstance(error, ServiceError):
        return error
    if store.closed:
        logger.info("a heavy request was broken off by the end of the service")
    else:
        logger.error("a heavy request failed", exc_info=error)
    told = ServiceError()
    told.__cause__ = error
    return told


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
