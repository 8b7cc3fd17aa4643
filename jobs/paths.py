r"""How the ledger writes the path of an event file: of a loose file as it is, of a member of a ZIP ``archive!member``.

So that one text names one file, a ``!`` in the path of a loose file or of an archive is written ``!!``. A member's name stands as
it is, but with ``./`` before a name that begins with ``!``. Bytes of a path that are no UTF-8 are written ``\xe3``, so the text can
always be stored and printed; a backslash that stands before ``xe3`` anyhow is written ``\x5c``.
"""

from __future__ import annotations

import re

MEMBER = "!"
"""Stands between an archive's path and the name of a member in it."""

_NO_UTF8 = re.compile(r"[\udc80-\udcff]|\\(?=x(?:5c|[89a-f][0-9a-f]))")
"""Bytes that are no UTF-8, as Python holds them, and backslashes that would be taken for the beginning of such a byte."""
_ESCAPED = re.compile(r"\\x(5c|[89a-f][0-9a-f])")
_SEPARATOR = re.compile(r"(?<!!)(?:!!)*!(?!!)")
"""The first ``!`` that is not doubled, with the pairs before it: the end of an archive's name."""
_BEGINS_WITH_MARK = re.compile(r"(?:\./)*!")


def written(path: str) -> str:
    """The ledger's text for a path below the root, with ``/``."""
    return _NO_UTF8.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", path).replace(MEMBER, 2 * MEMBER)


def written_member(archive: str, name: str) -> str:
    """The ledger's text for a member of an archive, which is given as the ledger writes it."""
    return archive + MEMBER + ("./" if _BEGINS_WITH_MARK.match(name) else "") + name


def archive_of(text: str) -> str:
    """The archive that holds the file, as the ledger writes it; of a loose file the file itself."""
    return _split(text)[0]


def member_of(text: str) -> str | None:
    """The name of a member in its archive; None of a loose file."""
    name = _split(text)[1]
    return name[2:] if name and name.startswith("./") and _BEGINS_WITH_MARK.match(name) else name


def below_root(text: str) -> str:
    """The path of the file itself, or of the archive that holds it, as the file system has it."""
    return _ESCAPED.sub(_unescaped, archive_of(text).replace(2 * MEMBER, MEMBER))


def _unescaped(found: re.Match[str]) -> str:
    return bytes([int(found[1], 16)]).decode("utf-8", "surrogateescape")


def _split(text: str) -> tuple[str, str | None]:
    found = _SEPARATOR.search(text)
    return (text[: found.end() - 1], text[found.end() :]) if found else (text, None)
