"""``scripts/python.sh -m serving``: starts the service at the address of the settings."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from serving.access.jwks import check_file
from serving.errors import SettingsError
from serving.keys import read_keys
from serving.load.connections import BoundedProtocol
from serving.load.ending import end_on_hang_up
from serving.load.handles import raise_limit
from serving.load.heavy import SOCKET
from serving.load.heavy_keeper import HeavyKeeper
from serving.load.sharing import SHARES, Door, make_shares
from serving.logs import log_config
from serving.observe import MULTIPROCESS
from serving.settings import Settings, hand_down, load_settings, override
from serving.state.temporary import TemporaryFolder

_LET_WAIT_SECONDS = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Run the service until it is stopped. Exit code 2: a setting is wrong, or of no use here."""
    workers = _parser().parse_args(arguments).workers
    if workers is not None:
        override("workers", workers)
    try:
        settings = load_settings()
        if settings.api_keys_file is not None:
            read_keys(Path(settings.api_keys_file))
        check_file(settings)
        _check_address(settings)
        if MULTIPROCESS in os.environ:  # which the library has read by now
            raise SettingsError(f"{MULTIPROCESS} is set: the service makes such a folder by itself; unset it")
        keeper = HeavyKeeper() if settings.heavy_process else None
    except SettingsError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    hand_down(settings)
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "http": BoundedProtocol,
        "h11_max_incomplete_event_size": settings.header_bytes,
        "timeout_graceful_shutdown": settings.stop_seconds,
        # By default uvicorn believes everybody on this machine who says that he asks for somebody else.
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": list(settings.trusted_proxies),
        "access_log": False,  # serving.access tells more, and not the query
        "log_config": log_config(),
    }
    raise_limit()
    # When it has ended on a signal, uvicorn raises it once more: for what is to be cleaned up, by the block's end.
    signal.signal(signal.SIGTERM, _end)
    end_on_hang_up()
    with ExitStack() as stack:
        stack.enter_context(suppress(KeyboardInterrupt))
        if keeper is not None:
            os.environ[SOCKET] = stack.enter_context(keeper).address
        if settings.workers > 1:
            folder = stack.enter_context(TemporaryFolder("workers"))
            os.environ[MULTIPROCESS] = folder  # the library looks for it when a worker imports it
            os.environ[SHARES] = make_shares(Path(folder), settings.workers)
        serve(uvicorn.Config("serving.main:worker_app", factory=True, workers=settings.workers, **options))
    return 0


def _check_address(settings: Settings) -> None:
    """See that the service can listen where it is to, before any process is started for it.

    Raises:
        SettingsError: it cannot.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET  # as uvicorn decides
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; set host or port (CTR_HOST, CTR_PORT)"
            ) from None


def serve(config: uvicorn.Config) -> None:
    """Serve until a signal, by this process or by as many as the configuration says."""
    shared = open_door(config)
    if config.workers > 1:
        _Workers(config, [shared]).run()
    else:
        uvicorn.Server(config).run([shared])


class _Workers(Multiprocess):
    """As many processes as the configuration says. A hang-up ends them: to start them again would change nothing."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        on_hang_up = signal.getsignal(signal.SIGHUP)
        super().__init__(config, sockets)
        signal.signal(signal.SIGHUP, on_hang_up)


def _end(*_: object) -> None:
    sys.exit(0)


def open_door(config: uvicorn.Config) -> Door:
    """The socket of the service, which takes connections one at a time.

    asyncio accepts as many waiting connections at once as it asked the system to let wait. So those who already have a connection
    waited until all of a hundred new ones were read, and of several workers the first that woke took all of them. A server here
    therefore asks for one; another thread asks for the rest.
    """
    waiting, config.backlog = config.backlog, 1
    shared = listener(config)
    threading.Thread(target=_let_wait, args=(shared, waiting), name="let-wait", daemon=True).start()
    return shared


def _let_wait(shared: socket.socket, waiting: int) -> None:
    """Ask again and again, for every server that starts asks for one."""
    with suppress(OSError):  # the service has ended, and closed it
        while True:
            shared.listen(waiting)
            time.sleep(_LET_WAIT_SECONDS)


def listener(config: uvicorn.Config) -> Door:
    """The bound socket. Its connections send at once: else head and body of an answer lie 40 ms apart.

    asyncio sees to that only for sockets that it made itself; Linux hands the option on to what the socket accepts.
    """
    shared = Door(fileno=config.bind_socket().detach())
    shared.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return shared


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/python.sh -m serving",
        description="Answers CTR requests over HTTP from the lake. Ctrl-C ends it.",
        epilog=f"Settings, from conf/ctr.toml or the environment:\n{_settings_table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workers", metavar="N", help="processes that answer (setting workers)")
    return parser


def _settings_table() -> str:
    lines = []
    for name, setting in Settings.model_fields.items():
        default = "" if setting.is_required() or setting.default_factory else f" (default {setting.default})"
        lines.append(f"  CTR_{name.upper():24}{setting.description}{default}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
