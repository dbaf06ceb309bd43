"""Who may call what: every route names one scope, or says that it is public, or is refused."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, g, request
from flask import session as browser

from api import limits
from shared import wall
from shared.db import asking
from shared.errors import Forbidden, Unauthenticated
from shared.log import begin
from shared.services import tenants
from shared.services.tenants import Caller
from shared.states import Scope

View = TypeVar("View", bound=Callable[..., Any])

PUBLIC = "public"
SESSION = "session"
Access = frozenset[Scope] | str
"""The scopes of which one is needed, PUBLIC, or SESSION."""

PUBLIC_PREFIXES: list[str] = []
"""Addresses below which everything is public: pages that installed packages serve."""

SESSION_BLUEPRINTS = frozenset({"pages", "security"})
"""Pages of the dashboard, which check the signed-in person themselves."""


def needs(*scopes: Scope) -> Callable[[View], View]:
    """Marks a route with the scopes of which its callers need one; `admin` always passes."""

    def mark(view: View) -> View:
        view.access = frozenset(scopes)  # type: ignore[attr-defined]
        return view

    return mark


UNCOUNTED = frozenset({"health.live", "health.ready"})
"""Whoever probes a process must not be told that it asks too often."""


def public(view: View) -> View:
    """Marks a route that needs no key."""
    view.access = PUBLIC  # type: ignore[attr-defined]
    return view


def require(*scopes: Scope) -> None:
    """Check the caller's scopes. Raises Forbidden."""
    if not {*scopes, Scope.ADMIN} & caller().scopes:
        named = " or ".join(sorted(scopes))
        raise Forbidden(f"This key lacks the scope {named}.")


def caller() -> Caller:
    """Who sent this request."""
    return g.caller


def access_of(app: Flask, endpoint: str) -> Access | None:
    """What an endpoint asks of its callers; None when it does not say, and so is refused."""
    if endpoint.split(".")[0] in SESSION_BLUEPRINTS:
        return SESSION
    return getattr(app.view_functions[endpoint], "access", None)


def add_to(app: Flask) -> None:
    """Check every request before its view."""
    app.before_request(_check)


def _check() -> None:
    if request.path.startswith(tuple(PUBLIC_PREFIXES)) or request.endpoint in UNCOUNTED:
        return
    access = PUBLIC if request.endpoint is None else access_of(current_app, request.endpoint)
    if access == PUBLIC or (access == SESSION and "_user_id" not in browser):
        limits.count_address()
    if access in {PUBLIC, SESSION}:
        return
    g.caller = _authenticate()
    wall.ask_for(g.caller.tenant_id)
    begin(request=g.request_id, key=g.caller.key_id)
    limits.count_caller(g.caller)
    if not isinstance(access, frozenset):
        raise Forbidden("This route names no scope; nobody may call it.")
    require(*access)


def _authenticate() -> Caller:
    """Who sends this request. Raises Unauthenticated, or RateLimited for one who keeps trying."""
    try:
        with wall.asking_for(wall.WHOEVER), asking() as connection:
            return tenants.authenticate(connection, bearer())
    except Unauthenticated:
        limits.count_address()
        raise


def bearer() -> str:
    """The key or token of this request. Raises Unauthenticated when there is none."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Unauthenticated
    return key.strip()
