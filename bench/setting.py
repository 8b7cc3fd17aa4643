"""What every kind of benchmark is given: how often, on what data, where its files go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.data import Data, make_data, open_data


@dataclass(frozen=True)
class Setting:
    """The options of one benchmark."""

    rounds: int
    size: str
    """Bytes of a day of events, as ``jobs.sample`` takes them."""
    data: Path | None
    """A sample that is there already, instead of one made for the benchmark."""
    cache: Path
    """Where samples are kept between runs, and scratch files while one runs."""
    sizes: tuple[str, ...]
    days: tuple[int, ...]
    peers: tuple[str, ...]

    def sample(self, size: str | None = None) -> Data:
        """One day of events, of the wanted size."""
        if self.data is not None and size is None:
            return open_data(self.data)
        return make_data(self.cache, "--days", "1", "--bytes", size or self.size)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """An empty folder that is gone afterwards; where the body fails it stays, for its logs."""
        folder = self.cache / "scratch" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        shutil.rmtree(folder)


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)
