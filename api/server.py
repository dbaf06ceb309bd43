"""gunicorn's settings, read by `gunicorn --config python:api.server`, and its worker of ours."""

import logging
from http import HTTPStatus
from typing import Any

from flask import json
from gunicorn import util
from gunicorn.http import errors as http
from gunicorn.workers.gthread import ThreadWorker

from api import headers, waiters
from api.errors import ErrorAnswer, detail_of, malformed
from api.requests import new_id
from api.turns import TURNS
from shared.errors import AtelierError, Permanent
from shared.log import about

log = logging.getLogger(__name__)


class AddressTooLong(Permanent):
    """The address with its query is longer than 8,190 bytes. Send what is long in the body, or ask
    for less at once.
    """

    code = "too_large"
    status = 414


class HeadersTooLong(Permanent):
    """There are more than 100 headers, or one is longer than 8,190 bytes."""

    code = "too_large"
    status = 431


class CodingUnknown(Permanent):
    """The transfer coding is not one that is read here. Send the body plain or `chunked`."""

    code = "invalid_request"
    status = 501


class NotExpected(Permanent):
    """There is no expectation but `100-continue`. Leave the header `Expect` out."""

    code = "invalid_request"
    status = 417


class Unexpected(AtelierError):
    """Something went wrong on our side; nothing was changed."""

    code = "internal"


class Worker(ThreadWorker):
    """gunicorn's worker with threads: what waits in it learns that it is to end, and what gunicorn
    itself refuses has the shape of every other error.
    """

    def handle_exit(self, sig: int, frame: Any) -> None:
        waiters.ENDING.begin(self.cfg.graceful_timeout)
        super().handle_exit(sig, frame)

    def handle_request(self, req: Any, conn: Any) -> Any:
        with TURNS.turn():
            return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        request_id = new_id()
        error = _error_of(exc)
        with about(request=request_id):
            if isinstance(error, Unexpected):
                log.error("a request failed", exc_info=exc)
            else:
                # Only the kind: the text may hold a key.
                log.warning("refused with %d: %s", error.status, type(exc).__name__)
        try:
            util.write_nonblock(client, _answer(error, request_id))
        except OSError as gone:
            log.info("the client has gone away: %s", gone)


_ERRORS: dict[type[Exception], type[AtelierError]] = {
    http.LimitRequestLine: AddressTooLong,
    http.LimitRequestHeaders: HeadersTooLong,
    http.UnsupportedTransferCoding: CodingUnknown,
    http.ExpectationFailed: NotExpected,
    # These two are headers of an answer of ours.
    http.InvalidResponseHeader: Unexpected,
    http.InvalidResponseHeaderName: Unexpected,
}


def _error_of(exc: Exception) -> AtelierError:
    if type(exc) in _ERRORS:
        return _ERRORS[type(exc)]()
    return malformed(exc) if isinstance(exc, http.ParseException) else Unexpected()


def _answer(error: AtelierError, request_id: str) -> bytes:
    body = json.dumps(ErrorAnswer(error=detail_of(error)).model_dump()).encode()
    named = {
        "Date": util.http_date(),
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "x-request-id": request_id,
        **headers.of_an_answer(),
    }
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


wsgi_app = "api.app:application()"
worker_class = Worker
workers = 2
# Eight answer while every place to wait is taken.
threads = waiters.CALLS.most + waiters.FOLLOWERS.most + 8
graceful_timeout = 10
loglevel = "warning"
# The most that gunicorn takes.
limit_request_line = 8190
limit_request_field_size = 8190
limit_request_fields = 100
# Whom to believe is for ProxyFix alone: gunicorn would believe whatever comes over loopback.
forwarded_allow_ips = ""
