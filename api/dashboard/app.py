"""The dashboard: pages for people, signed in by email and password."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, Flask, g, redirect, request
from flask.sessions import SecureCookieSessionInterface
from flask_bootstrap import Bootstrap5
from flask_limiter import Limiter
from flask_security import auth_required, current_user
from flask_wtf import CSRFProtect

from api import limits
from api.auth import PUBLIC_PREFIXES, public
from api.dashboard import datasets, failures, jobs, models, overview, review, shown, webhooks
from api.dashboard.accounts import add_security
from shared.log import begin
from shared.settings import settings

_PREFIX = "/dashboard"

blueprint = Blueprint(
    "dashboard",
    __name__,
    url_prefix=_PREFIX,
    template_folder="templates",
    static_folder="static",
)
PAGES = (overview, jobs, failures, review, models, datasets, webhooks)


def add_dashboard(app: Flask) -> None:
    """Add the pages, sign-in and their protections to the application."""
    app.config.update(
        BOOTSTRAP_SERVE_LOCAL=True,
        # The API has keys and no cookies; only the pages need tokens against forged requests.
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.session_interface = _Sessions()
    Bootstrap5(app)
    with _for_blueprints(app, "pages", "security"):
        csrf = CSRFProtect(app)
        add_security(app)
        _limit_sign_in(app)

    pages = Blueprint("pages", __name__, url_prefix=_PREFIX)
    pages.before_request(auth_required("session")(lambda: None))
    pages.before_request(csrf.protect)
    pages.before_request(_name)
    for page in PAGES:
        page.add_to(pages)
    app.register_blueprint(pages)
    app.register_blueprint(blueprint)
    shown.add_filters(app)
    app.add_url_rule("/", "root", public(lambda: redirect("/dashboard/")))
    for prefix in ("/dashboard/static/", "/bootstrap/"):
        PUBLIC_PREFIXES.append(prefix)


class _Sessions(SecureCookieSessionInterface):
    """Sessions of the pages: the API reads no cookie and sets none."""

    def open_session(self, app: Flask, request: Any) -> Any:
        return super().open_session(app, request) if request.path.startswith(_PREFIX) else None


@contextmanager
def _for_blueprints(app: Flask, *names: str) -> Iterator[None]:
    """What packages hook in the block into every request, they do for these blueprints alone: the
    API's requests, which come with keys, are spared it.
    """
    all_hooks: list[Any] = [app.before_request_funcs, app.after_request_funcs]
    before = [len(hooks[None]) for hooks in all_hooks]
    yield
    for hooks, known in zip(all_hooks, before, strict=True):
        added = hooks[None][known:]
        del hooks[None][known:]
        for name in names:
            hooks[name][:0] = added


def _name() -> None:
    """Have the log name who looks at a page."""
    begin(request=g.request_id, user=current_user.id)


def _limit_sign_in(app: Flask) -> None:
    """Limit attempts by account and by address: who guesses passwords is slowed down on both."""
    limiter = Limiter(
        limits.sender,
        app=app,
        storage_uri=settings().required("redis_url"),
        storage_options={"socket_timeout": 1, "socket_connect_timeout": 1},
        key_prefix="atelier-sign-in",
        # Without Redis each process counts for itself: slower guessing still, and people get in.
        in_memory_fallback_enabled=True,
        in_memory_fallback=[],
        headers_enabled=True,  # Retry-After
    )
    view = app.view_functions["security.login"]
    by_address = limiter.limit(settings().login_limit, methods=["POST"])
    by_account = limiter.limit(settings().login_limit, key_func=_account, methods=["POST"])
    app.view_functions["security.login"] = by_account(by_address(view))  # type: ignore[assignment]


def _account() -> str:
    # As the sign-in reads it: other letters of the same meaning are the same account.
    email = unicodedata.normalize("NFKC", request.form.get("email", "")).strip().casefold()
    return f"account {email}"
