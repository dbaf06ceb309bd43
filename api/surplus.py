"""What a route does not take is refused by name: a misspelt field is never silently ignored.

A route with a model of its query or body is checked by its model; here stand those without one, and
what no model sees: a field of a query that is given more than once.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, request

from api.auth import access_of
from api.queries import lists_of
from shared.errors import Invalid
from shared.services.invalid import UnknownField

View = TypeVar("View", bound=Callable[..., Any])


def takes_anything(view: View) -> View:
    """Marks a route that looks at nothing of what is sent, because it does nothing with it."""
    view.takes_anything = True  # type: ignore[attr-defined]
    return view


def add_to(app: Flask) -> None:
    """Check every request with a key before its view, once it is known who asks."""
    app.before_request(_refuse_surplus)


def _refuse_surplus() -> None:
    if request.endpoint is None or not isinstance(
        access_of(current_app, request.endpoint), frozenset
    ):
        return
    view = current_app.view_functions[request.endpoint]
    if getattr(view, "takes_anything", False):
        return
    _refuse_key(view)
    taken = view.__annotations__
    if "query" in taken:
        _refuse_repeated(lists_of(taken["query"]))
    else:
        _refuse_fields(request.args)
    if not {"body", "form"} & taken.keys():
        _refuse_body()


def _refuse_key(view: Callable[..., Any]) -> None:
    """No client shall take a POST for safe to repeat because its key was silently ignored."""
    if request.method != "POST" or "Idempotency-Key" not in request.headers:
        return
    if not getattr(view, "takes_idempotency_key", False):
        why = getattr(view, "takes_no_idempotency_key", "nothing is created; leave it out")
        raise Invalid(f"Idempotency-Key: not taken here, because {why}", param="Idempotency-Key")


def _refuse_body() -> None:
    # Read, so that a body over the limit is refused here as it is anywhere else.
    if not request.get_data():
        return
    body = request.get_json(silent=True) if request.is_json else ...
    if not isinstance(body, dict):
        raise Invalid("body: this address takes none; send it empty", param=None)
    _refuse_fields(body)


def _refuse_repeated(lists: frozenset[str]) -> None:
    for name, values in request.args.lists():
        if len(values) > 1 and name not in lists:
            raise Invalid(f"{name}: is given more than once; give it once", param=name)


def _refuse_fields(fields: Any) -> None:
    for name in fields:
        raise UnknownField(f"{name}: there is no such field", param=name)
