"""Errors of the jobs. Each text names the thing, the value found, the value wanted and what to do next."""

from __future__ import annotations

from collections.abc import Iterator


class JobError(Exception):
    """A job cannot go on (exit code 1). The text is for the operator and is printed without a stack trace."""


class UsageError(JobError):
    """The command line or a setting is wrong (exit code 2)."""


class AccountError(JobError):
    """The counts of a file do not add up: a defect of this program, never of the data. Nothing was published."""


class UnreadableFile(Exception):
    """An event file cannot be read to its end (cut gzip, bad checksum, no permission). It costs that file alone."""


def error_texts(error: BaseException | None) -> Iterator[str]:
    """Texts of an error and of those that it came from, as the end of a stack trace shows them."""
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__
