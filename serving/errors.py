"""Errors of the service, and how each is told to a client (RFC 9457, ``application/problem+json``)."""

from __future__ import annotations

from dataclasses import dataclass

RETRY_SECONDS = 5
"""What a 503 puts into ``Retry-After``."""


class SettingsError(Exception):
    """A setting is wrong: the service does not start. The text names every fault and what is wanted."""


class PublicationError(Exception):
    """A publication cannot be served. The text is fit for clients: it names tables and versions, no paths."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request."""

    parameter: str
    code: str
    detail: str
    hint: str


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
        super().__init__(self.detail)


class NotFound(ServiceError):
    """There is nothing at this address."""

    status = 404
    code = "not_found"
    title = "Not found"
    detail = "There is nothing at this address. /docs lists what there is."


class MethodNotAllowed(ServiceError):
    """The address exists, the method does not."""

    status = 405
    code = "method_not_allowed"
    title = "Method not allowed"

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(f"This address takes {', '.join(allowed)}.")
        self.headers = {"Allow": ", ".join(allowed)}


class BodyTooLarge(ServiceError):
    """The body of the request is above the limit."""

    status = 413
    code = "body_too_large"
    title = "Request body too large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit} bytes (setting body_bytes). Ask for fewer products at once.")


class InvalidRequest(ServiceError):
    """One or more parameters are wrong; ``errors`` lists all of them."""

    status = 422
    code = "invalid_request"
    title = "Invalid request"

    def __init__(self, faults: list[Fault]) -> None:
        names = ", ".join(dict.fromkeys(fault.parameter for fault in faults))
        super().__init__(f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in: {names}.", tuple(faults))


class NotReady(ServiceError):
    """There is nothing to serve yet, or the lake cannot be read at this moment."""

    status = 503
    code = "not_ready"
    title = "No data to serve"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(RETRY_SECONDS)}


class LakeUnreadable(NotReady):
    """A file of the lake could not be read while a request was answered."""

    code = "lake_unreadable"
    title = "The lake cannot be read"

    def __init__(self) -> None:
        super().__init__("A table of the lake could not be read. The log of the service has the reason; ask again.")


PROBLEMS: tuple[type[ServiceError], ...] = (
    NotFound,
    MethodNotAllowed,
    BodyTooLarge,
    InvalidRequest,
    ServiceError,
    NotReady,
    LakeUnreadable,
)
"""Every kind of problem that a client can meet; ``/docs`` lists them."""
