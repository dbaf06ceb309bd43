"""Server-sent events: answers that go on for as long as a client reads them."""

from collections.abc import Iterator

from flask import Response

from api.waiters import Place

ALIVE = ": still at work\n\n"
"""A comment: a client that is gone is found out by writing to it."""


def respond(events: Iterator[str], place: Place) -> Response:
    """The answer of these events. The place is left when they end, or when nobody reads on."""
    response = Response(_held(events, place), mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"  # a proxy would keep events back
    response.call_on_close(place.leave)  # should nobody ever ask for the first event
    return response


def _held(events: Iterator[str], place: Place) -> Iterator[str]:
    """Some servers drop an answer that they cannot write, without closing it: so this ends, too."""
    try:
        yield from events
    finally:
        place.leave()
