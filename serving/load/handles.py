"""File handles: the system lets a process have so many, and its connections, the lake and the local copy share them."""

from __future__ import annotations

import contextlib
import math
import resource

_BESIDES = 100
"""What a process needs besides connections and the local copy: files of the lake, listeners, the log."""

ADVICE = "raise it (ulimit -n, or LimitNOFILE of the unit of systemd)"
"""What to do about a limit that is too low."""


def raise_limit() -> None:
    """Let this process, and those that it will start, have as many as the system allows; Debian's default is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems name no number that they would take
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> float:
    """How many this process may have; infinite where there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft


def for_replica(connections: int) -> float:
    """How many the local copy may take beside so many connections. At least half: seldom is every connection open."""
    return max(limit() / 2, limit() - connections - _BESIDES)


def shortage(connections: int, replica: int) -> str | None:
    """What to say where the limit is too low for so many connections and what the local copy wants; else ``None``."""
    wanted = connections + replica + _BESIDES
    if wanted <= limit():
        return None
    return (
        f"{limit():.0f} file handles are too few for {connections} connections (setting connections), "
        f"{replica} files of the local copy and {_BESIDES} others: {ADVICE} to {wanted}"
    )
