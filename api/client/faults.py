"""What ends a command early: faults with the exit codes that docs/commands.md promises, and trying
again before one is final.
"""

import random
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

import click
import httpx

from api.client.showing import plain, tell

Result = TypeVar("Result")

UNSUCCESSFUL = 1
INTERRUPTED = 130

TRIES = 6
"""How often a request is sent before its fault is final."""
LONGEST_PAUSE_S = 60
"""A server that asks for more than this is not waited for."""
_FIRST_PAUSE_S = 0.5
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_IN_FLIGHT = "idempotency_key_in_flight"
"""The code of a 409 which passes: the first request under this key is not over."""


class BadFile(click.ClickException):
    """The file of items cannot be used as it is."""

    exit_code = 2


class Refused(click.ClickException):
    """The server refused the request; sending it again would change nothing."""

    exit_code = 3


class Conflicting(Refused):
    """The thing is not in a state that allows this."""


class NoAnswer(click.ClickException):
    """The server could not be reached, or failed."""

    exit_code = 4


class Again(Exception):
    """A fault that may pass."""

    def __init__(self, fault: click.ClickException, after_s: float | None = None):
        self.fault = fault
        self.after_s = after_s
        """When to try again, where the server said so."""


def retrying(attempt: Callable[[], Result]) -> Result:
    """Run `attempt` until it raises Again no more, at most TRIES times. Raises its last fault."""
    tried = 1
    while True:
        try:
            return attempt()
        except Again as again:
            pause_s = again.after_s
            if pause_s is None:
                pause_s = _FIRST_PAUSE_S * 2 ** (tried - 1) * random.uniform(1, 1.25)  # noqa: S311
            if tried == TRIES or pause_s > LONGEST_PAUSE_S:
                raise again.fault from None
            tell(f"{again.fault.message}; trying again in {pause_s:.1f} s")
        time.sleep(pause_s)
        tried += 1


def check(answer: httpx.Response) -> None:
    """Raises Again or Refused or NoAnswer unless the answer, whose body was read, is a success."""
    if answer.is_success:
        return
    error = _error_of(answer)
    fault = _kind(answer.status_code)(_say(answer, error))
    if answer.status_code in _TRY_AGAIN or error.get("code") == _IN_FLIGHT:
        raise Again(fault, _after_s(answer))
    raise fault


def _kind(status: int) -> type[click.ClickException]:
    if status == HTTPStatus.CONFLICT:
        return Conflicting
    return Refused if status < HTTPStatus.INTERNAL_SERVER_ERROR else NoAnswer


def _error_of(answer: httpx.Response) -> dict[str, object]:
    """The error in the API's shape; empty when somebody else answered."""
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _say(answer: httpx.Response, error: dict[str, object]) -> str:
    message = error.get("message") or f"{answer.url.host} answered {answer.reason_phrase}"
    if answer.is_redirect:
        message = f"the server redirects to {answer.headers['location']}; set ATELIER_URL to that"
    notes = [f"status {answer.status_code}"]
    if error.get("param"):
        notes.append(f"field {error['param']}")
    if request_id := answer.headers.get("x-request-id"):
        notes.append(f"request {request_id}")
    return plain(f"{message} ({', '.join(notes)})")


def _after_s(answer: httpx.Response) -> float | None:
    after = answer.headers.get("Retry-After", "")
    return float(after) if after.isdecimal() else None
