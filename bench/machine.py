"""What was measured on what: the machine, the versions of all contestants, the state of the code."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
"""The Python of the peers that the product itself does not need."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> str:
    """Cores, processor, memory and operating system in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{cores()} cores of {_processor()}, {memory:.0f} GiB of memory, {_system()}"


def load() -> str:
    """What the machine had to do besides: the mean of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def versions() -> str:
    """Versions of everything that took part."""
    own = {name: metadata.version(name) for name in ("pyspark", "deltalake", "duckdb")}
    found = {"Python": platform.python_version(), "Java": _java(), **own, "delta-spark": _delta()}
    found |= {name: peer_version(name) for name in ("polars", "chdb", "chdb-core")}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def peer_version(package: str) -> str | None:
    """The version of a package in ``.venv-bench``, or None where it is not installed."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    try:
        done = subprocess.run([str(PEERS_PYTHON), "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def code() -> str:
    """The commit that was measured, and whether files of jobs, service or benchmark had changed since."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        status = [*git, "status", "--porcelain", "common", "jobs", "serving", "bench"]
        changed = subprocess.run(status, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def _processor() -> str:
    names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    return names[0].strip() if names else platform.machine()


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, Linux {platform.release().partition('-')[0]}"


def _java() -> str | None:
    java = Path(os.environ["JAVA_HOME"], "bin", "java") if os.environ.get("JAVA_HOME") else Path("java")
    try:
        done = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = re.search(r'version "([^"]+)"', done.stderr)
    return found[1] if found else None


def _delta() -> str | None:
    settings = (ROOT / "conf" / "spark-defaults.conf").read_text(encoding="utf-8")
    found = re.search(r"io\.delta:delta-spark[^:]*:([\d.]+)", settings)
    return found[1] if found else None
