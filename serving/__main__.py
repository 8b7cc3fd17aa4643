"""``python -m serving``: starts the service at the address of the settings."""

from __future__ import annotations

import argparse
import copy
import sys
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from serving.errors import SettingsError
from serving.main import create_app
from serving.settings import Settings, load_settings


def main(arguments: list[str] | None = None) -> int:
    """Run the service until it is stopped. Exit code 2: a setting is wrong."""
    _parser().parse_args(arguments)
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http="h11",
        h11_max_incomplete_event_size=settings.header_bytes,
        log_config=_logging(),
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="python -m serving",
        description="Answers CTR requests over HTTP from the lake. Ctrl-C ends it.",
        epilog=f"Settings, from conf/ctr.toml or the environment:\n{_settings_table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _settings_table() -> str:
    lines = []
    for name, setting in Settings.model_fields.items():
        default = "" if setting.is_required() or setting.default_factory else f" (default {setting.default})"
        lines.append(f"  CTR_{name.upper():24}{setting.description}{default}")
    return "\n".join(lines)


def _logging() -> dict[str, Any]:
    """The logging of uvicorn, with the service's own log in it."""
    config = copy.deepcopy(LOGGING_CONFIG)
    for formatter in config["formatters"].values():
        formatter["fmt"] = "%(asctime)s " + formatter["fmt"]
    config["loggers"]["serving"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config


if __name__ == "__main__":
    sys.exit(main())
