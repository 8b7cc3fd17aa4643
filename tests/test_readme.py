"""The README tells the truth: settings and commands."""

from __future__ import annotations

import re

from pydantic.fields import FieldInfo

from jobs.config import Config
from serving import VERSION
from serving.settings import Settings
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
_UNITS = {"g": 1 << 30, "m": 1 << 20, "k": 1 << 10}
BEGIN, END = "<!-- settings: kept by tests/test_readme.py -->\n", "<!-- /settings -->"


def settings_table() -> str:
    """The table that belongs between the two marks: ``scripts/python.sh -m tests.test_readme`` prints it."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {_default(field)} | {field.description} |" for name, field in Config.model_fields.items()]
    for name, field in Settings.model_fields.items():
        if name not in Config.model_fields:
            lines.append(f"| `serving.{name}` | {_default(field)} | {field.description} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "in the file"
    if field.default_factory is not None:
        return "see the meaning"
    value = field.default
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return " ".join(f"`{item}`" for item in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and value >= 1 << 16 and value % (1 << 10) == 0:
        unit, size = next((unit, size) for unit, size in _UNITS.items() if value % size == 0)
        return f"`{value // size}{unit}`"
    return f"`{value}`"


def test_the_table_of_settings_names_each_with_default_and_meaning():
    table = README.split(BEGIN)[1].split(END)[0]
    assert table == settings_table()


def test_the_commands_and_files_that_it_names_exist():
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.M)) <= targets
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
    usage = (ROOT / "spark-submit.sh").read_text()
    for job in re.findall(r"^\| `\./spark-submit\.sh (\w+)", README, re.M):
        assert f"  {job} " in usage


def test_no_command_that_is_shown_needs_an_active_environment():
    for file in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("serving/*.py")):
        bare = re.findall(r"(?<![\w./])python -m (?:jobs|serving)[.\w]*", file.read_text(encoding="utf-8"))
        assert not bare, file


def test_the_changelog_tells_of_the_version_that_the_service_names():
    versions = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert next(version for version in versions if version != "Unreleased") == VERSION


if __name__ == "__main__":
    print(settings_table(), end="")
