"""What ``make run`` needs of the service: is its port free, is it ready, one request with its answer.

``scripts/service.py free``: exit code 1 and one line if the port is taken, or callers would need a key.
``scripts/service.py example PID``: waits for the service (process PID) and shows a request with its answer.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import sys
import time
from datetime import date, timedelta
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import urlopen

from serving.errors import SettingsError
from serving.settings import Settings, load_settings

WAIT_SECONDS = 60


def main(arguments: list[str]) -> int:
    """Runs one of the two commands; its exit code."""
    try:
        settings = load_settings()
        if arguments == ["free"]:
            check_open(settings)
            check_free(settings.host, settings.port)
        elif arguments[:1] == ["example"] and len(arguments) == 2:
            address = address_of(settings)
            wait_until_ready(address, int(arguments[1]))
            show_example(address)
        else:
            raise ServiceError(str(__doc__))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except ServiceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class ServiceError(Exception):
    """The service cannot be started or does not answer; the text says what to do."""


def address_of(settings: Settings) -> str:
    """Where the service is reached from this machine, whatever address it listens on."""
    host = settings.host
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{settings.port}"
    if ip.is_unspecified:
        host = "127.0.0.1" if ip.version == 4 else "::1"
    return f"http://[{host}]:{settings.port}" if ip.version == 6 else f"http://{host}:{settings.port}"


def check_open(settings: Settings) -> None:
    """Returns if the service answers without a key.

    Raises:
        ServiceError: it does not: the file of settings names keys or the issuer of JWTs.
    """
    if settings.closed:
        raise ServiceError(
            "api_keys_file or jwt_jwks stands in the file of settings, and make run asks without a key: take them out, or name "
            "another file by CTR_CONF"
        )


def check_free(host: str, port: int) -> None:
    """Returns if the service can listen there.

    Raises:
        ServiceError: it cannot, most often because something does already.
    """
    if port == 0:
        raise ServiceError("CTR_PORT is 0: make run wants a port that it can name, such as CTR_PORT=8000")
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServiceError(
            f"cannot listen on {host} port {port} ({reason}): stop what uses it, or choose another: CTR_PORT=8001 make run"
        ) from None


def wait_until_ready(address: str, process: int) -> None:
    """Returns when the service can answer.

    Raises:
        ServiceError: its process ended, or it was not ready in time.
    """
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        try:
            with urlopen(f"{address}/health/ready", timeout=5):
                return
        except (OSError, HTTPException):
            time.sleep(0.1)
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            raise ServiceError("the service ended before it was ready") from None
    raise ServiceError(f"the service was not ready after {WAIT_SECONDS} s")


def show_example(address: str) -> None:
    """Prints a request over the newest day of the lake, for its most bought product, and the real answer."""
    platforms = [facts for facts in _get(f"{address}/v1/status")["platforms"] if facts["lastDay"]]
    if not platforms:
        print(f"The service is at {address} (pages: {address}/docs); the lake holds no view yet.", flush=True)
        return
    day, platform = date.fromisoformat(platforms[-1]["lastDay"]), platforms[-1]["platform"]
    times = {"startTimestamp": f"{day} 00:00:00", "endTimestamp": f"{day + timedelta(days=1)} 00:00:00"}
    whole_day = _get(_url(address, **times, aggregation="1440", platform=platform, detail="true"))
    product = max(whole_day, key=lambda row: (row["purchases"], row["views"]))["product"]
    url = _url(address, **times, aggregation="360", platform=platform, product=product)
    print(f"The service is at {address} (documentation: {address}/docs). A request:\n\n  curl '{url}'\n", flush=True)
    with urlopen(url, timeout=60) as answer:
        print(answer.read().decode().replace("},{", "},\n {"), flush=True)


def _url(address: str, **parameters: str) -> str:
    return f"{address}/v1/ctr?{urlencode(parameters, quote_via=quote, safe=':')}"


def _get(url: str) -> Any:  # noqa: ANN401 - JSON of the service
    try:
        with urlopen(url, timeout=60) as answer:
            return json.load(answer)
    except OSError as error:
        raise ServiceError(f"the service does not answer {url}: {error}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
