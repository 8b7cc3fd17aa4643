"""The settings of the jobs: ``conf/ctr.toml`` overridden by ``CTR_*`` variables, read once into one frozen object."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from common.variables import SERVICE, unknown_variables
from jobs.errors import UsageError
from jobs.schemas import PLATFORMS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
"""The project folder: relative paths in ``conf/ctr.toml`` start here."""

LIMITS = (
    "quarantined",
    "failed_files",
    "purchases_lost",
    "items_quarantined",
    "few_views",
    "platform_behind",
    "purchases_without_views",
    "ctr_above_1",
)
"""Data-quality limits (``jobs.quality``)."""

_PATHS = ("events", "lake", "purchases_url")
_SQLITE = "jdbc:sqlite:"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_bytes(value: object) -> int:
    """A number of bytes from ``1048576``, ``"64m"``, ``"20g"``; units are powers of 1024.

    Raises:
        ValueError: the value is neither, or not above 0.
    """
    match = re.fullmatch(r"(\d+)\s*([kmgt]?)(?:i?b)?", str(value).strip().lower())
    if not match or int(match[1]) == 0:
        raise ValueError("wanted a size above 0 such as 64m or 20g")
    return int(match[1]) * _UNITS[match[2]]


def parse_names(value: object) -> object:
    """The names in a text such as ``paid, sent`` or ``["paid", "sent"]``; what is no text comes back as it is.

    Raises:
        ValueError: the text begins like a JSON list and is none.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _from_json(value, 'a JSON list such as ["a", "b"], or names separated by commas')
    return tuple(name for part in value.split(",") if (name := part.strip()))


def _parse_table(value: object) -> object:
    wanted = 'a JSON object such as {"iOS": ["iphone", "ipad"]}, or a section of the file'
    return _from_json(value, wanted) if isinstance(value, str) else value


def _from_json(text: str, wanted: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"wanted {wanted}") from None


Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Names = Annotated[tuple[str, ...], BeforeValidator(parse_names)]
AsTable = BeforeValidator(_parse_table)


class _WithoutPaths(EnvSettingsSource):
    """The environment without the paths, which ``load_config`` takes from there itself to make them absolute."""

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if name not in _PATHS}


class Columns(BaseModel):
    """Names of the purchase database's columns; of several names the first that a table has is taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order_id: Names = ("id",)
    order_date: Names = ("order_date",)
    order_status: Names = ("status", "order_status")
    order_device: Names = ("device", "device_type")
    item_id: Names = ("id",)
    item_order_id: Names = ("order_id",)
    item_product: Names = ("code_color",)


class Config(BaseSettings):
    """Every setting of the jobs. Field names are the keys of the file; ``CTR_`` + the name in capitals overrides."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CTR_", enable_decoding=False)

    events: str = Field(description="root of the platform folders, or a ZIP of them")
    lake: str = Field(description="root of the Delta tables")
    purchases_url: str = Field(description="JDBC address of the purchase database")
    purchases_user: str | None = Field(None, description="user of the purchase database")
    purchases_password: SecretStr | None = Field(None, description="its password; environment only, never the file")
    orders_timezone: str = Field("UTC", description="zone in which orders.order_date was written")
    orders_table: str = Field("orders", description="name of the table of orders")
    order_items_table: str = Field("order_items", description="name of the table of order items")
    columns: Annotated[Columns, AsTable] = Field(
        default_factory=Columns, description="names of the columns of both tables"
    )
    device_aliases: Annotated[dict[str, Names], AsTable] = Field(
        default_factory=lambda: {
            "iOS": ("ios", "iphone", "ipad"),
            "Android": ("android",),
            "MobileWeb": ("mobileweb", "mobile_web", "mobile web", "mobile-web"),
        },
        description="spellings of orders.device for each platform, any case",
    )
    excluded_statuses: Names = Field((), description="order statuses that are no purchase, any case")
    purchases_days: int | None = Field(
        None,
        ge=1,
        description="read only orders of the last so many days; what becomes of older ones, or of those that move to an "
        "older day, and which order items have no order, a run without it sees; unset: all of them",
    )
    unfinished_names: Names = Field(
        (".*", "_*", "*.tmp", "*._COPYING_", "*.part", "*.crdownload"),
        description="names of event files that are still being copied: left for a later run",
    )
    young_seconds: float = Field(
        0, ge=0, description="event files that changed less long ago are left for a later run: they may still grow"
    )
    lock_wait_seconds: float = Field(3600, ge=0, description="how long a run waits for another that uses the lake")
    batch_bytes: Bytes = Field(20 << 30, description="most bytes of event files in one batch")
    task_bytes: Bytes = Field(128 << 20, description="bytes of event files that one Spark task reads")
    record_bytes: Bytes = Field(16 << 20, description="longest record; a longer one is quarantined")
    quarantine_limit: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of the records, of the product events or of the order items that may be quarantined",
    )
    purchases_lost_limit: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of the lake's purchases that one run may take away, of more than 100; 1: any",
    )
    compact_bytes: Bytes = Field(64 << 20, description="data files below this are merged by maintain")
    quarantine_days: int = Field(90, ge=1, description="days after which maintain removes rows of the quarantine")
    keep_days: float = Field(7, ge=0, description="days for which maintain keeps what publications name, at least 7")
    keep_publications: int = Field(10, ge=1, description="newest publications that maintain keeps, however old")
    vacuum_grace_hours: float = Field(24, ge=0, description="data files younger than this are not deleted")
    views_limit: float = Field(
        0.5, ge=0, le=1, description="least views of a day that is over, as a share of those a week before; 0: any"
    )
    behind_days: int = Field(
        2, ge=0, description="most days by which a platform's newest views may lie behind the lake's newest day; 0: any"
    )
    retired_platforms: Names = Field((), description="platforms that deliver no more: they are behind for ever")
    fatal_limits: Names = Field(
        ("quarantined", "failed_files", "purchases_lost"),
        description=f"limits that make a run exit 3, the others warn; of {', '.join(LIMITS)}",
    )

    @property
    def platform_of_device(self) -> dict[str, str]:
        """The platform of each alias, which is in small letters."""
        return {alias.lower(): platform for platform, aliases in self.device_aliases.items() for alias in aliases}

    @field_validator("orders_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except Exception as error:
            raise ValueError("wanted an IANA time zone such as UTC or America/Sao_Paulo") from error
        return value

    @field_validator("device_aliases", "retired_platforms")
    @classmethod
    def _known_platforms(cls, value: Collection[str]) -> Collection[str]:
        unknown = sorted(set(value) - set(PLATFORMS))
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: wanted only {', '.join(PLATFORMS)}")
        return value

    @field_validator("device_aliases")
    @classmethod
    def _one_platform_each(cls, value: dict[str, Names]) -> dict[str, Names]:
        platforms: dict[str, str] = {}
        for platform, aliases in value.items():
            for alias in aliases:
                other = platforms.setdefault(alias.lower(), platform)
                if other != platform:
                    raise ValueError(
                        f"{alias} is in {other} and in {platform}: wanted each in one of them, in any case"
                    )
        return value

    @field_validator("fatal_limits")
    @classmethod
    def _known_limits(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(value) - set(LIMITS)):
            raise ValueError(f"{', '.join(unknown)}: wanted only {', '.join(LIMITS)}")
        return value

    @field_validator("purchases_url")
    @classmethod
    def _jdbc(cls, value: str) -> str:
        if not value.startswith(("jdbc:sqlite:", "jdbc:postgresql:", "jdbc:mysql:")):
            raise ValueError("wanted jdbc:sqlite:FILE, jdbc:postgresql://... or jdbc:mysql://...")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before arguments: the arguments hold what the file says, and the paths, already resolved."""
        return _WithoutPaths(settings_cls), init_settings


def load_config() -> Config:
    """The settings from ``$CTR_CONF`` (default ``conf/ctr.toml``) and the environment; paths come back absolute.

    Raises:
        UsageError: the file cannot be read, or a setting has a wrong name or value; the text lists every fault.
    """
    file = Path(os.environ.get("CTR_CONF", ROOT / "conf" / "ctr.toml"))
    document = _read(file)
    faults = [*_misplaced(document), *unknown_variables(os.environ)]
    try:
        config = Config(**_values(document, file))
    except ValidationError as error:
        faults += [f"{'.'.join(map(str, fault['loc']))}: {_reason(fault)}" for fault in error.errors()]
    if faults:
        raise UsageError(f"wrong setting in {file} or CTR_*: {'; '.join(faults)}")
    return config


def _reason(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        if error["loc"][0] in SERVICE:
            return "a setting of the service: write it below [serving]"
        return "no such setting (see the table of settings in README.md)"
    if error["type"] == "missing":
        return f"missing: set it in the file or as CTR_{str(error['loc'][0]).upper()}"
    return f"found {error['input']!r}: {error['msg'].removeprefix('Value error, ')}"


def _read(file: Path) -> dict[str, Any]:
    """What the file says; ``jobs`` and ``serving`` are sections, empty where it has none."""
    try:
        document: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read the configuration {file}: {error}; set CTR_CONF to a readable file") from None
    for section in ("jobs", "serving"):
        if not isinstance(found := document.setdefault(section, {}), dict):
            raise UsageError(f"wrong setting in {file}: {section}: found {found!r}, wanted a section [{section}]")
    return document


def _misplaced(document: dict[str, Any]) -> list[str]:
    """A line for each setting of the jobs in ``[serving]``, where it would be passed over, and for ``lake`` in ``[jobs]``."""
    faults = [
        f"serving.{name}: a setting of the jobs: write it on the top level, or below [jobs]"
        for name in document["serving"]
        if name in Config.model_fields
    ]
    if "lake" in document["jobs"]:
        faults.append("jobs.lake: lake stands on the top level, the service reads it too")
    return faults


def _values(document: dict[str, Any], file: Path) -> dict[str, Any]:
    """Top-level keys and those of ``[jobs]``, paths made absolute; all else in ``[serving]`` is the service's business."""
    values = {name: value for name, value in document.items() if name not in ("jobs", "serving")}
    values |= document["jobs"]
    base = file.resolve().parent.parent
    for key in _PATHS:
        if key in values:
            values[key] = _absolute(str(values[key]), base)
    for key in _PATHS:  # the environment wins (see settings_customise_sources): its paths are the user's own
        if os.environ.get(f"CTR_{key.upper()}"):
            values[key] = _absolute(os.environ[f"CTR_{key.upper()}"], Path.cwd())
    return values


def _absolute(path: str, base: Path) -> str:
    """A path of this machine made absolute, in ``jdbc:sqlite:`` addresses too; other addresses as they are."""
    if path.startswith(_SQLITE):
        return _SQLITE + _absolute(path.removeprefix(_SQLITE), base)
    if "://" in path or path.startswith("jdbc:"):
        return path
    return os.path.normpath(base / Path(path).expanduser())
