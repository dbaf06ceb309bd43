"""The errors of the house: two roots, `Retryable` and `Permanent`; the docstring is the default
message.

`api/errors.py` alone turns them into HTTP answers; the ledger alone turns them into retries or
failures.
"""

import errno
from typing import Any


class AtelierError(Exception):
    """Something went wrong."""

    code = "error"
    status = 500
    retry_after_s: int | None = None
    """When the same request may succeed, if that can be said."""

    def __init__(self, message: str | None = None, *, param: str | None = None):
        super().__init__(message or " ".join((self.__doc__ or "").split()))
        self.param = param

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def detail(self) -> dict[str, Any]:
        """It as clients are told of it."""
        return {
            "message": self.message,
            "type": type_of(self.status),
            "param": self.param,
            "code": self.code,
        }


_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def type_of(status: int) -> str:
    """What an error of an answer of this status is called."""
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")


class Retryable(AtelierError):
    """A condition outside the request failed; the same request may succeed later."""

    code = "unavailable"
    status = 503
    retry_after_s = 2


class Permanent(AtelierError):
    """The request cannot succeed as it is; trying again changes nothing."""

    code = "invalid_request"
    status = 400


class Invalid(Permanent):
    """A field's value cannot be used."""

    code = "invalid_value"
    status = 400


class NotFound(Permanent):
    """There is no such thing, or it belongs to another tenant."""

    code = "not_found"
    status = 404


class Conflict(Permanent):
    """The thing is not in a state that allows this."""

    code = "conflict"
    status = 409


class Unauthenticated(Permanent):
    """No valid API key was sent. Send `Authorization: Bearer <key>`."""

    code = "invalid_api_key"
    status = 401


class Forbidden(Permanent):
    """The key lacks the scope that this route needs."""

    code = "insufficient_scope"
    status = 403


class TooLarge(Permanent):
    """The body is larger than the limit."""

    code = "too_large"
    status = 413


class KeyReused(Permanent):
    """This Idempotency-Key was used with another request. Use a new key for a new request."""

    code = "idempotency_key_reused"
    status = 422


class KeyInFlight(Permanent):
    """A request with this Idempotency-Key is still being answered. Try again in a moment."""

    code = "idempotency_key_in_flight"
    status = 409


class ItemFailed(AtelierError):
    """The item failed."""

    code = "generation_failed"


class UnsafeContent(Permanent):
    """An uploaded file breaks a safety rule (path, link, size or ratio)."""

    code = "unsafe_content"


class TrainingDiverged(Permanent):
    """Training gave values that are not numbers, three times; try a lower learning rate."""

    code = "diverged"


class QueueFull(Retryable):
    """As many of your items wait as may. Send more when some are done."""

    code = "queue_full"
    status = 429
    retry_after_s = 30


class BudgetSpent(Permanent):
    """The month's budget of compute seconds is spent, or does not suffice for this as well."""

    code = "budget_spent"
    status = 429

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
    ):
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s


class StorageFull(Retryable):
    """As many bytes of yours are stored as may be. Delete files that you no longer need."""

    code = "storage_full"
    status = 429
    retry_after_s = 300


class RateLimited(Retryable):
    """Requests come faster than they may."""

    code = "rate_limited"
    status = 429

    def __init__(self, message: str, *, retry_after_s: int):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Retryable):
    """More work waits here than may. Try again later; nothing was accepted."""

    code = "overloaded"
    retry_after_s = 30


class StorageUnavailable(Retryable):
    """The object storage does not answer, or answered with a fault of its own."""

    code = "storage_unavailable"


class IntegrityError(Retryable):
    """Stored bytes do not have the hash that their row names."""

    code = "integrity"


class EgressBlocked(Permanent):
    """The address is one that requests from this installation may not go to."""

    code = "egress_blocked"


class Unreachable(Retryable):
    """The receiver gave no answer, or none that could be read."""

    code = "unreachable"


class Stopped(Exception):
    """Raised inside a family or the harness when the lease's stop flag is set."""


def is_disk_full(error: Exception) -> bool:
    """Whether the system says that a disk, or the part of it that is ours, has no room left."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
