"""The settings of the service: ``conf/ctr.toml`` overridden by ``CTR_*`` variables, read once into one frozen object."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import Self

from serving.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
"""The project folder: ``conf/ctr.toml`` stands here, and relative paths in it start here."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _bytes(value: object) -> int:
    match = re.fullmatch(r"(\d+)\s*([kmg]?)(?:i?b)?", str(value).strip().lower())
    if not match or int(match[1]) == 0:
        raise ValueError("wanted a size above 0 such as 64k or 2g")
    return int(match[1]) * _UNITS[match[2]]


Bytes = Annotated[int, BeforeValidator(_bytes)]


class Settings(BaseSettings):
    """Every setting of the service. Keys of ``[serving]``, ``lake`` on the top level; ``CTR_`` + the name overrides."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CTR_", env_ignore_empty=True)

    lake: str = Field(description="root of the Delta tables; a local path")
    host: str = Field("127.0.0.1", description="address that the service listens on")
    port: int = Field(8000, ge=0, le=65535, description="port that the service listens on; 0 takes any free one")
    allow_unauthenticated: bool = Field(
        False, description="true serves an address other than loopback although callers need no key"
    )
    poll_seconds: float = Field(1.0, gt=0, description="seconds between two looks for a new publication")
    body_bytes: Bytes = Field(1 << 20, description="longest body of a POST")
    header_bytes: Bytes = Field(64 << 10, description="longest request line and headers together")
    stream_rows: int = Field(
        20_000, ge=1, description="answers of more rows are streamed, that many at a time, without Content-Length"
    )
    query_memory: Bytes = Field(2 << 30, description="memory of all queries together; what does not fit goes to disk")
    query_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="threads of all queries together; default: cores"
    )

    @field_validator("lake")
    @classmethod
    def _local_path(cls, value: str) -> str:
        """The file's paths are absolute by now, so a relative one came from the environment: it starts at the cwd."""
        if "://" in value:
            raise ValueError("wanted a local path; the service does not read object stores")
        return _absolute(value, Path.cwd())

    @model_validator(mode="after")
    def _loopback_or_told(self) -> Self:
        if not self.allow_unauthenticated and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached from other machines and callers need no key: "
                "set host = 127.0.0.1, or say allow_unauthenticated = true"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before arguments: the arguments hold what the file says."""
        return env_settings, init_settings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name other than localhost counts as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings() -> Settings:
    """The settings from ``$CTR_CONF`` (default ``conf/ctr.toml``) and the environment; ``lake`` comes back absolute.

    Raises:
        SettingsError: the file cannot be read, or a setting has a wrong name or value; the text lists every fault.
    """
    file = Path(os.environ.get("CTR_CONF") or ROOT / "conf" / "ctr.toml")
    values = _read(file)
    try:
        return Settings(**values)
    except ValidationError as error:
        faults = "; ".join(_reason(fault) for fault in error.errors())
        raise SettingsError(f"wrong setting in {file} or CTR_*: {faults}") from None


def _reason(fault: ErrorDetails) -> str:
    name = ".".join(map(str, fault["loc"]))
    if not name:
        return fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"serving.{name}: no such setting (see the table of settings in README.md)"
    if fault["type"] == "missing":
        return f"{name}: missing: set it in the file or as CTR_{name.upper()}"
    return f"{name}: found {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"


def _read(file: Path) -> dict[str, Any]:
    """``lake`` and the keys of ``[serving]``, the path made absolute; all other keys are the business of the jobs."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read the configuration {file}: {error}; set CTR_CONF to a readable file") from None
    section = document.get("serving", {})
    if not isinstance(section, dict):
        raise SettingsError(f"wrong setting in {file}: serving: found {section!r}, wanted a section [serving]")
    if "lake" in section:
        raise SettingsError(
            f"wrong setting in {file}: serving.lake: lake stands on the top level, the jobs read it too"
        )
    values = {**{key: document[key] for key in ("lake",) if key in document}, **section}
    if "lake" in values:
        values["lake"] = _absolute(str(values["lake"]), file.resolve().parent.parent)
    return values


def _absolute(path: str, base: Path) -> str:
    return path if "://" in path else os.path.normpath(base / Path(path).expanduser())
