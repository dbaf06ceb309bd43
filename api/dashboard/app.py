"""The dashboard: pages for people, signed in by email and password."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, Flask, g, redirect, request, url_for
from flask.sessions import SecureCookieSessionInterface
from flask_bootstrap import Bootstrap5
from flask_security import auth_required, current_user
from flask_wtf import CSRFProtect
from werkzeug.wrappers import Response as AnyResponse

from api.auth import PUBLIC_PREFIXES, public
from api.dashboard import (
    datasets,
    failures,
    guesses,
    jobs,
    models,
    overview,
    own_account,
    review,
    second_factor,
    shown,
    webhooks,
)
from api.dashboard.sign_in import add_security
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
PAGES = (
    overview,
    jobs,
    failures,
    review,
    models,
    datasets,
    webhooks,
    own_account,
    second_factor,
)


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

    pages = Blueprint("pages", __name__, url_prefix=_PREFIX)
    pages.before_request(auth_required("session")(lambda: None))
    pages.before_request(csrf.protect)
    pages.before_request(_name)
    pages.before_request(_finish_sign_in)
    for page in PAGES:
        page.add_to(pages)
    app.register_blueprint(pages)
    app.register_blueprint(blueprint)
    with _for_blueprints(app, "pages", "security"):
        guesses.limit(app)
    shown.add_filters(app)
    app.jinja_env.globals["missing_step"] = _missing_step
    app.add_url_rule("/", "root", public(lambda: redirect("/dashboard/")))
    for prefix in ("/dashboard/static/", "/bootstrap/"):
        PUBLIC_PREFIXES.append(prefix)


class _Sessions(SecureCookieSessionInterface):
    """Sessions of the pages, signed with today's hash: the API reads no cookie and sets none."""

    digest_method = staticmethod(hashlib.sha256)

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


def _finish_sign_in() -> AnyResponse | None:
    """Lead to what is missing before the dashboard opens."""
    missing = _missing_step()
    if missing is None or request.endpoint == f"pages.{missing}":
        return None
    wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for(f"pages.{missing}", next=wanted))


def _missing_step() -> str | None:
    if second_factor.is_missing():
        return "second_factor"
    if current_user.must_change_password:
        return "password"
    if settings().require_second_factor and not current_user.second_factor:
        return "set_up_second_factor"
    return None
