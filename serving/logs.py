"""How all processes of the service log: uvicorn's own lines, the service's in the same form, one JSON object a request."""

from __future__ import annotations

import copy
import logging
from typing import Any

from uvicorn.config import LOGGING_CONFIG


def log_config() -> dict[str, Any]:
    """The logging of uvicorn, with the service's own log in it; for ``logging.config.dictConfig``."""
    config = copy.deepcopy(LOGGING_CONFIG)
    for formatter in config["formatters"].values():
        formatter["fmt"] = "%(asctime)s " + formatter["fmt"]
    config["formatters"]["plain"] = {"format": "%(message)s"}
    config["handlers"]["plain"] = {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"}
    config["loggers"]["serving.access"] = {"handlers": ["plain"], "level": "INFO", "propagate": False}
    config["loggers"]["serving"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config


def tell_no_places() -> None:
    """Leave out of log records what no line shows, as the manual of ``logging`` says (Optimization): half of the time of a line."""
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
