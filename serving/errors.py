"""Errors of the service, and how each is told to a client (RFC 9457, ``application/problem+json``)."""

from __future__ import annotations

from typing import Any

from serving.faults import Fault

RETRY_SECONDS = 5
"""What a 503 puts into ``Retry-After``."""


class SettingsError(Exception):
    """A setting is wrong: the service does not start. The text names every fault and what is wanted."""


class PublicationError(Exception):
    """A publication cannot be served. The text is fit for clients: it names tables and versions, no paths."""


class ServiceError(Exception):
    """A request that gets a problem document instead of an answer."""

    status = 500
    code = "internal_error"
    title = "The service failed"
    detail = "The request could not be answered. The log of the service has the reason under this request id."

    def __init__(self, detail: str | None = None, errors: tuple[Fault, ...] = ()) -> None:
        self.detail = detail or self.detail
        self.errors = errors
        self.headers: dict[str, str] = {}
        self.members: dict[str, object] = {}
        """What the document says beside what every problem says."""
        super().__init__(self.detail)

    def add(self, more: str) -> None:
        """Tell more of it, where more is known than where it was raised."""
        self.detail = f"{self.detail} {more}"
        self.args = (self.detail,)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets it as it stands, its cause as a text: kinds differ in what they are made of."""
        cause = repr(self.__cause__) if self.__cause__ is not None else None
        return _received, (type(self), self.__dict__, cause)


def _received(kind: type[ServiceError], state: dict[str, Any], cause: str | None) -> ServiceError:
    error = kind.__new__(kind, state["detail"])
    error.__dict__.update(state)
    error.__cause__ = Exception(cause) if cause is not None else None
    return error


class Unauthorized(ServiceError):
    """The request has no valid key or token."""

    status = 401
    code = "unauthorized"
    title = "No valid key"

    def __init__(self, detail: str, given: bool = True) -> None:
        """``given``: there was a key or token, so that the client learns that a new one is wanted (RFC 6750, 3.1)."""
        super().__init__(detail)
        self.headers = {"WWW-Authenticate": 'Bearer realm="ctr"' + (', error="invalid_token"' if given else "")}


class Forbidden(ServiceError):
    """The key or token is valid, but not for this."""

    status = 403
    code = "forbidden"
    title = "Not for this key"

    def __init__(self, detail: str, scope: str | None = None) -> None:
        """``scope``: what a key or token for this would have."""
        super().__init__(detail)
        if scope is not None:
            self.headers = {"WWW-Authenticate": f'Bearer realm="ctr", error="insufficient_scope", scope="{scope}"'}


class CorsRefused(ServiceError):
    """A browser asked for leave to send a request of a page of another origin, and there is none."""

    status = 403
    code = "cors_refused"
    title = "Not for pages of this origin"

    def __init__(self, faults: list[str], headers: dict[str, str]) -> None:
        super().__init__(f"A page of another origin may not send this request: {'; '.join(faults)}.")
        self.headers = headers


class TooManyRequests(ServiceError):
    """The key, or the address, has asked too often."""

    status = 429
    code = "too_many_requests"
    title = "Too many requests"

    def __init__(self, detail: str, seconds: int) -> None:
        super().__init__(f"{detail} Ask again in {seconds} s.")
        self.headers = {"Retry-After": str(seconds)}


class NotFound(ServiceError):
    """There is nothing at this address."""

    status = 404
    code = "not_found"
    title = "Not found"

    def __init__(self, docs: bool) -> None:
        """``docs``: whether ``/docs`` is open."""
        super().__init__(f"There is nothing at this address.{' /docs lists what there is.' if docs else ''}")


class PublicationUnknown(ServiceError):
    """There never was a publication of that number."""

    status = 404
    code = "publication_unknown"
    title = "No such publication"

    def __init__(self, parameter: str, number: int, newest: int) -> None:
        detail = f"There is no publication {number}."
        super().__init__(
            detail,
            (
                Fault(
                    parameter,
                    "publication_unknown",
                    detail,
                    f"the newest is {newest}; X-Data-Version names that of an answer",
                ),
            ),
        )


class PublicationGone(ServiceError):
    """What the publication named has been deleted."""

    status = 410
    code = "publication_gone"
    title = "The publication is no longer kept"

    def __init__(self, parameter: str, number: int, oldest: int | None) -> None:
        detail = f"Publication {number} is no longer kept (settings keep_days, keep_publications of the jobs)."
        hint = "ask for the newest" if oldest is None else f"the oldest that is kept is {oldest}"
        super().__init__(detail, (Fault(parameter, "publication_gone", detail, hint),))


class MethodNotAllowed(ServiceError):
    """The address exists, the method does not."""

    status = 405
    code = "method_not_allowed"
    title = "Method not allowed"

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(f"This address takes {', '.join(allowed)}.")
        self.headers = {"Allow": ", ".join(allowed)}


class NotAcceptable(ServiceError):
    """The client takes none of the forms that there are."""

    status = 406
    code = "not_acceptable"
    title = "No acceptable form"

    def __init__(self, header: str, there_is: list[str]) -> None:
        super().__init__(f"The header {header} takes none of what there is: {', '.join(there_is)}.")
        self.headers = {"Vary": header}


class MissingDays(ServiceError):
    """``strict`` was asked for, and days of the range are missing."""

    status = 409
    code = "missing_days"
    title = "Days are missing in the range"

    def __init__(self, missing: dict[str, list[str]], longest: tuple[str, str] | None, version: int) -> None:
        count = len({day for days in missing.values() for day in days})
        names = "; ".join(
            f"{platform}: {', '.join(days[:5])}{' ...' if len(days) > 5 else ''}" for platform, days in missing.items()
        )
        nearest = f" The longest part without a missing day is {longest[0]} to {longest[1]}." if longest else ""
        super().__init__(
            f"{count} day{'s' if count > 1 else ''} of the range (UTC) of which views are missing: {names}.{nearest} "
            "Without strict the rest is answered."
        )
        self.headers = {"X-Data-Version": str(version)}
        self.members = {"missingDays": [{"platform": platform, "days": days} for platform, days in missing.items()]}


class BodyTooLarge(ServiceError):
    """The body of the request is above the limit."""

    status = 413
    code = "body_too_large"
    title = "Request body too large"

    def __init__(self, limit: int, asked: int | None) -> None:
        """``asked``: its length where the client has told it; ``None``: it was read until it passed the limit."""
        found = f"more than {limit}" if asked is None else str(asked)
        parts = "several requests" if asked is None else f"{-(-asked // limit)} requests or more"
        super().__init__(
            f"The body has {found} bytes; the limit is {limit} (setting body_bytes). "
            f"A body of {limit} bytes would pass: ask for fewer products at once, in {parts}."
        )


class UrlTooLong(ServiceError):
    """The address with its query is above the limit."""

    status = 414
    code = "url_too_long"
    title = "URL too long"

    def __init__(self, limit: int, asked: int, path: str) -> None:
        way = (
            "POST /v1/ctr takes the same parameters in a body."
            if path == "/v1/ctr"
            else f"One of {limit} bytes would pass."
        )
        super().__init__(f"The URL has {asked} bytes; the limit is {limit} (setting url_bytes). {way}")


class BodyTooSlow(ServiceError):
    """The body of the request did not come in time."""

    status = 408
    code = "body_too_slow"
    title = "Request body too slow"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The body was not complete after {seconds:g} s (setting request_seconds). Send it at once.")


class HeadTooSlow(ServiceError):
    """Request line and headers did not come in time."""

    status = 408
    code = "head_too_slow"
    title = "Request head too slow"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"Request line and headers were not complete after {seconds:g} s (setting request_seconds). "
            "Send them at once."
        )


class HeadTooLarge(ServiceError):
    """Request line and headers are above the limit."""

    status = 431
    code = "head_too_large"
    title = "Request head too large"

    def __init__(self, limit: int, found: int) -> None:
        """``found``: how much of it had come when it was refused."""
        super().__init__(
            f"Request line and headers have {found} bytes or more together; the limit is {limit} (setting header_bytes). "
            "Send fewer or shorter headers; POST /v1/ctr takes long lists of products in its body."
        )


class MalformedRequest(ServiceError):
    """What came is no HTTP request."""

    status = 400
    code = "malformed_request"
    title = "No HTTP request"
    detail = "What was sent is no HTTP/1.1 request."


class InvalidRequest(ServiceError):
    """One or more parameters are wrong; ``errors`` lists all of them."""

    status = 422
    code = "invalid_request"
    title = "Invalid request"

    def __init__(self, faults: list[Fault], all_found: bool = True) -> None:
        """``all_found``: there are no others; else nobody looked for more."""
        names = ", ".join(dict.fromkeys(fault.parameter for fault in faults))
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        told = f"{count} in: {names}." if all_found else f"At least {count}, more were not looked for, in: {names}."
        super().__init__(told, tuple(faults))


class NotReady(ServiceError):
    """There is nothing to serve yet, or the lake cannot be read at this moment."""

    status = 503
    code = "not_ready"
    title = "No data to serve"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(RETRY_SECONDS)}


class Loading(NotReady):
    """The service has started and still opens its first publication."""

    code = "loading"
    title = "The service is starting"
    detail = "The service has just started and still opens the newest publication."

    def __init__(self) -> None:
        super().__init__(self.detail)


class Broken(NotReady):
    """There are publications, and none of them can be served."""

    code = "broken"
    title = "No publication can be served"


class TokenKeysUnavailable(NotReady):
    """A token came, and the keys that sign tokens could not be read since the start."""

    code = "token_keys_unavailable"
    title = "Tokens cannot be checked"
    detail = (
        "The keys that sign tokens could not be read yet (setting jwt_jwks). The log of the service has the reason."
    )

    def __init__(self) -> None:
        super().__init__(self.detail)


class LakeUnreadable(NotReady):
    """A file of the lake could not be read while a request was answered."""

    code = "lake_unreadable"
    title = "The lake cannot be read"

    def __init__(self) -> None:
        super().__init__("A table of the lake could not be read. The log of the service has the reason; ask again.")


class Busy(NotReady):
    """Too many requests are being answered at once."""

    code = "busy"
    title = "Too many requests at once"

    def __init__(self, slots: int, setting: str | None, queue: int = 0, seconds: float | None = None) -> None:
        """What it is that runs already, by its setting, and why the request did not wait until it had ended.

        Args:
            slots: how many may run.
            setting: says so; ``None``: it is the opening of an older publication.
            queue: how many wait already, where one more may not.
            seconds: the longest wait, where it is over.
        """
        waiting = f", and {queue} wait (setting queue)" if queue else ""
        if seconds is not None:
            waiting = f", and this request got no turn in up to {seconds:g} s (setting queue_seconds)"
        running = f"{slots} {setting} run already (setting {setting})"
        if setting is None:
            running = "Another older publication (asOf) is being opened"
        super().__init__(f"{running}{waiting}. The same request may pass soon.")
        self.headers = {"Retry-After": "1"}


class OutOfMemory(NotReady):
    """A query needed more memory and temporary space than there is."""

    code = "out_of_memory"
    title = "The answer does not fit into memory"

    def __init__(self, memory: int, spill: int, disk_full: bool = False) -> None:
        """What there was too little of.

        Args:
            memory: bytes that one process may take.
            spill: bytes of disk likewise.
            disk_full: there was not even so much: nothing could be written.
        """
        needed = (
            ", its share of the setting query_memory, and the disk for temporary files could not be written: it may be full"
            if disk_full
            else f" and {_size(spill)} of disk, its share of the settings query_memory and query_spill"
        )
        super().__init__(
            f"All queries of one process together needed more than {_size(memory)} of memory{needed}. "
            "Ask for a shorter range, fewer products or a longer aggregation; or ask again when less is going on."
        )


def _size(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"


class HeavyProcessLost(NotReady):
    """The process that answers heavy requests ended in the middle of one."""

    code = "heavy_process_lost"
    title = "The process at work on the answer ended"

    def __init__(self) -> None:
        super().__init__(
            "The process that answers large requests ended while it worked on this one, and is being started again. "
            "Ask again; if it happens again, ask for less: the machine may be out of memory."
        )


class QueryTimeout(ServiceError):
    """A query took longer than the limit and was ended."""

    status = 504
    code = "query_timeout"
    title = "The query took too long"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The query was ended after {seconds:g} s (setting query_seconds). "
            "Ask for a shorter range, fewer products, or start and aggregation at whole hours or days."
        )


class ClientGone(ServiceError):
    """The client closed the connection before its answer was made. Nobody reads this, but the log has it."""

    status = 499
    code = "client_gone"
    title = "The client went away"


PROBLEMS: tuple[type[ServiceError], ...] = (
    Unauthorized,
    Forbidden,
    CorsRefused,
    TooManyRequests,
    NotFound,
    PublicationUnknown,
    MethodNotAllowed,
    PublicationGone,
    NotAcceptable,
    MissingDays,
    BodyTooLarge,
    BodyTooSlow,
    HeadTooSlow,
    UrlTooLong,
    HeadTooLarge,
    MalformedRequest,
    InvalidRequest,
    ServiceError,
    NotReady,
    Loading,
    Broken,
    TokenKeysUnavailable,
    LakeUnreadable,
    Busy,
    OutOfMemory,
    HeavyProcessLost,
    QueryTimeout,
)
"""Every kind of problem that a client can meet; ``/docs`` lists them."""
