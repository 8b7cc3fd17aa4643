"""The settings of the service: ``conf/ctr.toml`` overridden by ``CTR_*`` variables, read once into one frozen object."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import Self

from common.variables import unknown_variables
from serving.contract import TABLES
from serving.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
"""The project folder: ``conf/ctr.toml`` stands here, and relative paths in it start here."""

HANDED_DOWN = "SERVING_SETTINGS"
"""Variable by which the service hands its settings to the processes that it starts. Nobody else sets it."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that ``jwt_algorithms`` may name: only those whose verifier holds no secret."""

_COLUMNS = {column for schema in TABLES.values() for column in schema.names}
"""What a folder above the lake may not give a value to: partitions of the lake are read from whole paths."""

_LEAST_MEMORY = 16 << 20
"""Bytes of ``query_memory`` with which one process opens publications and answers small requests."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _bytes(value: object) -> int:
    match = re.fullmatch(r"(\d+)\s*([kmg]?)(?:i?b)?", str(value).strip().lower())
    if not match or int(match[1]) == 0:
        raise ValueError("wanted a size above 0 such as 64k or 2g")
    return int(match[1]) * _UNITS[match[2]]


def _bytes_or_none(value: object) -> int:
    return 0 if str(value).strip() == "0" else _bytes(value)


def _names(value: object) -> object:
    """The names in a text such as ``a, b`` or ``["a", "b"]``; what is no text comes back as it is."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return tuple(name for part in value.split(",") if (name := part.strip()))
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('wanted a JSON list such as ["a", "b"], or names separated by commas') from None


Bytes = Annotated[int, BeforeValidator(_bytes)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


class Settings(BaseSettings):
    """Every setting of the service. Keys of ``[serving]``, ``lake`` on the top level; ``CTR_`` + the name overrides."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="CTR_", env_ignore_empty=True, enable_decoding=False
    )

    lake: str = Field(description="root of the Delta tables; a local path")
    host: str = Field("127.0.0.1", description="address that the service listens on")
    port: int = Field(8000, ge=0, le=65535, description="port that the service listens on; 0 takes any free one")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that answer; they share the limits on memory, disk and threads, those on how many at once are "
        "of each; one builds the local copy",
    )
    allow_unauthenticated: bool = Field(
        False, description="true serves an address other than loopback although callers need no key"
    )
    api_keys_file: str | None = Field(
        None,
        description="file of API keys (`scripts/python.sh -m serving.keys`); with it every request under /v1 wants a key",
    )
    key_requests: int = Field(
        600, ge=1, description="requests of one key, or one subject of JWTs, a minute, in each worker process"
    )
    key_guesses: int = Field(
        10,
        ge=1,
        description="wrong keys or JWTs from one address a minute, in each worker process; more are 429, good ones never",
    )
    trusted_proxies: Names = Field(
        (),
        description="addresses or networks of proxies whose `X-Forwarded-For` names the client; none: it is whoever connects",
    )
    jwt_jwks: str | None = Field(
        None,
        description="JWKS whose keys sign JWTs: an https URL (http on loopback) or a file; with it a JWT opens /v1 like a key",
    )
    jwt_issuer: str | None = Field(None, description="the `iss` that a JWT must have")
    jwt_audience: str | None = Field(None, description="the `aud` that a JWT must have, alone or among others")
    jwt_algorithms: Names = Field(
        ("RS256",), min_length=1, description=f"how a JWT may be signed; of {', '.join(ALGORITHMS)}"
    )
    jwt_platforms_claim: str = Field(
        "platforms",
        min_length=1,
        description="claim that lists the platforms of a JWT (list, or text with spaces); a JWT without it has all of them",
    )
    jwt_nbf_required: bool = Field(
        True, description="false takes JWTs without `nbf`, which some issuers leave out; where it is there it counts"
    )
    jwt_leeway_seconds: float = Field(
        30.0, ge=0, le=300, description="how far the clocks of issuer and service may be apart"
    )
    jwt_refresh_seconds: float = Field(
        300.0,
        gt=0,
        description="seconds between two readings of the JWKS: so long a key taken out of it may still open",
    )
    jwt_retry_seconds: float = Field(
        10.0,
        gt=0,
        description="a JWT with an unknown key id makes the service read the JWKS at once, at most this often",
    )
    docs: bool = Field(
        True, description="false closes /docs and /openapi.json, and the explorer leaves its link to them out"
    )
    cors_origins: Names = Field(
        (), description="origins whose pages may read answers, such as https://shop.example; none: only the own page"
    )
    poll_seconds: float = Field(1.0, gt=0, description="seconds between two looks for a new publication")
    body_bytes: Bytes = Field(512 << 10, description="longest body of a POST")
    header_bytes: Bytes = Field(64 << 10, description="longest request line and headers together")
    stream_rows: int = Field(
        20_000, ge=1, description="answers of more rows are streamed, that many at a time, without Content-Length"
    )
    url_bytes: Bytes = Field(16 << 10, description="longest URL with its query")
    range_days: int = Field(1100, ge=1, description="longest range of one request, in days")
    buckets: int = Field(100_000, ge=1, description="most buckets in the range of one request")
    filter_products: int = Field(1000, ge=1, description="most products that one request names")
    json_rows: int = Field(1_000_000, ge=1, description="most rows of an answer in JSON")
    download_rows: int = Field(50_000_000, ge=1, description="most rows of an answer in any other format")
    query_seconds: float = Field(30.0, gt=0, description="longest time of a query; then it is ended")
    queries: int = Field(8, ge=1, description="queries that run at once, in each worker process")
    heavy_rows: int = Field(
        2_000_000,
        ge=1,
        description="a request that reads more rows is heavy: it yields to others, and has a queue of its own",
    )
    heavy_queries: int = Field(
        2, ge=1, description="heavy queries that run at once, besides the others, for each worker process"
    )
    heavy_process: bool = Field(
        True,
        description="heavy requests run in a process of their own, which yields to all others; false: in the workers",
    )
    queue: int = Field(
        64, ge=0, description="requests that wait for one of these, in each worker process; more are told to come again"
    )
    queue_seconds: float = Field(2.0, gt=0, description="longest wait in that queue")
    streams: int = Field(
        16,
        ge=1,
        description="streamed answers that are read at once, in each worker process; others wait up to `queue_seconds` for room",
    )
    stream_seconds: float = Field(
        600.0, gt=0, description="longest time until a client has taken a long answer; then it is cut"
    )
    stall_seconds: float = Field(30.0, gt=0, description="a client that takes nothing of its answer so long is cut off")
    request_seconds: float = Field(10.0, gt=0, description="longest time for a request's head, and for its body")
    stop_seconds: int = Field(30, ge=1, description="time that running answers get to finish when the service stops")
    connections: int = Field(
        1000,
        ge=1,
        description="connections at once, in each worker process; beyond, the one that waits longest for its client is closed",
    )
    query_spill: Bytes = Field(
        10 << 30, description="temporary space on disk of all queries together, and as much for building the local copy"
    )
    query_memory: Bytes = Field(
        2 << 30,
        description="memory of all queries together, at least 16m for each worker and as much for the heavy process; "
        "what does not fit goes to disk",
    )
    cache_bytes: Annotated[int, BeforeValidator(_bytes_or_none)] = Field(
        64 << 20, description="memory for finished answers, which are given again while the publication holds; 0: none"
    )
    older_publications: int = Field(
        16,
        ge=1,
        description="older publications (`asOf`) that are kept open in each worker process, the last used ones",
    )
    replica: bool = Field(
        True, description="false answers from the Delta tables alone, without a local copy of the counts"
    )
    replica_folder: str = Field(
        default_factory=lambda: str(_cache_home() / "ctr"),
        description="where the local copies are kept, a folder a lake; default: `ctr` below `$XDG_CACHE_HOME` or `~/.cache`",
    )
    replica_memory: Bytes = Field(
        1 << 30, description="memory that building the local copy may take, besides the queries"
    )
    replica_minute_days: int | None = Field(
        None, ge=0, description="newest days of which the local copy keeps minutes; unset: all of them"
    )
    query_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="threads of the queries of all workers; the heavy process has as many; default: cores",
    )

    @field_validator("lake")
    @classmethod
    def _local_path(cls, value: str) -> str:
        """The file's paths are absolute by now, so a relative one came from the environment: it starts at the cwd."""
        if "://" in value:
            raise ValueError("wanted a local path; the service does not read object stores")
        if set(value) & set("*?["):
            raise ValueError("wanted a path without *, ? and [, which DuckDB takes for a pattern of paths")
        path = _absolute(value, Path.cwd())
        for folder in Path(path).parts:
            column, given, _ = folder.partition("=")
            if given and column.lower() in _COLUMNS:
                raise ValueError(
                    f"wanted a path without a folder such as {folder}, which DuckDB takes for a column's value"
                )
        return path

    @field_validator("replica_folder")
    @classmethod
    def _replica_path(cls, value: str) -> str:
        if "://" in value:
            raise ValueError("wanted a local path")
        return _absolute(value, Path.cwd())

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """What is neither uvicorn takes for a name, which no client has."""
        for item in value:
            try:
                ipaddress.ip_network(item)
            except ValueError:
                raise ValueError("wanted addresses or networks such as 127.0.0.1 or 10.0.0.0/8") from None
        return value

    @field_validator("jwt_jwks")
    @classmethod
    def _jwks_source(cls, value: str | None) -> str | None:
        if value is None or "://" not in value:
            return value if value is None else _absolute(value, Path.cwd())
        url = urlsplit(value)
        safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname or ""))
        if not safe or not url.hostname or url.username is not None:
            raise ValueError("wanted an https URL (http on loopback only) without user and password, or a file")
        return value

    @field_validator("jwt_algorithms")
    @classmethod
    def _asymmetric(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= set(ALGORITHMS):
            raise ValueError(f"wanted some of {', '.join(ALGORITHMS)}")
        return value

    @model_validator(mode="after")
    def _jwt_whole(self) -> Self:
        named = [name for name in ("jwt_jwks", "jwt_issuer", "jwt_audience") if getattr(self, name) is not None]
        if len(named) in (1, 2):
            raise ValueError(f"{' and '.join(named)} alone check no JWT: set jwt_jwks, jwt_issuer and jwt_audience")
        return self

    @model_validator(mode="after")
    def _loopback_or_told(self) -> Self:
        if not self.allow_unauthenticated and not self.closed and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached from other machines and callers need no key: "
                "set host = 127.0.0.1, name an api_keys_file or a jwt_jwks, or say allow_unauthenticated = true"
            )
        return self

    @model_validator(mode="after")
    def _memory_for_all(self) -> Self:
        least = _LEAST_MEMORY * self._shares
        if self.query_memory < least:
            raise ValueError(
                f"query_memory {self.query_memory} is too little for {self.workers} worker{'s' * (self.workers > 1)}"
                f"{' and the heavy process' if self.heavy_process else ''}: wanted at least {least >> 20}m"
            )
        return self

    @property
    def _shares(self) -> int:
        """Of how many parts of memory and disk a worker has one; the heavy process has as many as all workers."""
        return self.workers * (2 if self.heavy_process else 1)

    @property
    def closed(self) -> bool:
        """Whether callers need a key or a JWT."""
        return self.api_keys_file is not None or self.jwt_jwks is not None

    def of_worker(self) -> Settings:
        """The same with one worker's share of memory, disk and threads."""
        share = {
            "query_memory": self.query_memory // self._shares,
            "query_spill": self.query_spill // self._shares,
            "query_threads": max(1, self.query_threads // self.workers),
            "cache_bytes": self.cache_bytes // self.workers,
        }
        return self.model_copy(update=share)

    def of_heavy_process(self) -> Settings:
        """The same with the share of the heavy process: half of the memory and disk; workers keep its answers."""
        share = {"query_memory": self.query_memory // 2, "query_spill": self.query_spill // 2, "cache_bytes": 0}
        return self.model_copy(update=share)

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


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name other than localhost counts as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def override(name: str, value: object) -> None:
    """Set one setting for this process and those that it starts, as the environment would."""
    os.environ[f"CTR_{name.upper()}"] = str(value)


def hand_down(settings: Settings) -> None:
    """Have the processes that this one starts, now and later, work with these settings: see ``handed_down``."""
    os.environ[HANDED_DOWN] = json.dumps(settings.model_dump())


def handed_down() -> Settings:
    """The settings of the service that started this process.

    The file may have changed since. Processes that each read it when they are started, or started again, would be of two minds.
    """
    return Settings(**json.loads(os.environ[HANDED_DOWN]))


def load_settings() -> Settings:
    """The settings from ``$CTR_CONF`` (default ``conf/ctr.toml``) and the environment; ``lake`` comes back absolute.

    Raises:
        SettingsError: the file cannot be read, or a setting has a wrong name or value; the text lists every fault.
    """
    file = Path(os.environ.get("CTR_CONF") or ROOT / "conf" / "ctr.toml")
    values = _read(file)
    faults = unknown_variables(os.environ)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        faults += map(_reason, error.errors())
    if faults:
        raise SettingsError(f"wrong setting in {file} or CTR_*: {'; '.join(faults)}")
    return settings


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
    others = {**document, **_table(document.get("jobs"))}
    if misplaced := [name for name in Settings.model_fields if name in others and name != "lake"]:
        raise SettingsError(
            f"wrong setting in {file}: {', '.join(misplaced)}: settings of the service: write them below [serving]"
        )
    if "lake" in section:
        raise SettingsError(
            f"wrong setting in {file}: serving.lake: lake stands on the top level, the jobs read it too"
        )
    values = {**{key: document[key] for key in ("lake",) if key in document}, **section}
    for name in ("lake", "replica_folder", "api_keys_file", "jwt_jwks"):
        if name in values:
            values[name] = _absolute(str(values[name]), file.resolve().parent.parent)
    return values


def _table(value: object) -> dict[str, Any]:
    """A section of the file; what else stands in its place is the business of the jobs."""
    return value if isinstance(value, dict) else {}


def _absolute(path: str, base: Path) -> str:
    return path if "://" in path else os.path.normpath(base / Path(path).expanduser())
