"""The named steps of a batch, found by wrapping the functions that do them. The product knows nothing of this.

A step is ``before`` or ``after`` a call, and the how many-th call of that name it is: ``after commit views 1``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from deltalake import DeltaTable

import jobs.recompute
import jobs.run
from jobs.lake import Lake

Act = Callable[[str], None]


class Killed(BaseException):
    """The run is dead: no handler of the product may catch this."""


class Steps:
    """Names the steps as they come and acts at each."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self._count: Counter[str] = Counter()

    def wrap(self, function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **named: Any) -> Any:
            step = name(*arguments, **named)
            self._count[step] += 1
            number = self._count[step]
            self._act(f"before {step} {number}")
            result = function(*arguments, **named)
            self._act(f"after {step} {number}")
            return result

        return stepped


def _method(verb: str) -> Callable[..., str]:
    return lambda _lake, table, *_, **__: f"{verb} {table.name}"


@contextmanager
def acting(act: Act) -> Iterator[None]:
    """While the body runs, ``act`` is told each step."""
    steps = Steps(act)
    create = steps.wrap(DeltaTable.create, lambda uri, *_, **__: f"create {Path(uri).name}")
    restore = steps.wrap(DeltaTable.restore, lambda delta, *_, **__: f"restore {Path(delta.table_uri).name}")
    with ExitStack() as stack:
        for verb in ("commit", "append", "overwrite"):
            stack.enter_context(patch.object(Lake, verb, steps.wrap(getattr(Lake, verb), _method(verb))))
        stack.enter_context(patch.object(DeltaTable, "create", staticmethod(create)))
        stack.enter_context(patch.object(DeltaTable, "restore", restore))
        for module, name in (
            (jobs.run, "make_plan"),
            (jobs.run, "read_events"),
            (jobs.run, "read_purchases"),
            (jobs.recompute, "write_rollups"),
        ):
            wrapped = steps.wrap(getattr(module, name), lambda *_, _name=name, **__: _name)
            stack.enter_context(patch.object(module, name, wrapped))
        yield


@contextmanager
def dying_at(step: str) -> Iterator[list[str]]:
    """The body dies of ``Killed`` at this step; whatever it still tries to do to the lake afterwards dies as well."""
    died: list[str] = []

    def act(now: str) -> None:
        if now == step or died:
            died.append(now)
            raise Killed(step)

    with acting(act):
        yield died
