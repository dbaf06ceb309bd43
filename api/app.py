"""The API's application: wiring only. Nothing is built when this module is imported."""

import gc
import os

from flask_openapi import OpenAPI
from werkzeug.middleware.proxy_fix import ProxyFix

from api import auth, errors, headers, introduction, limits, requests, surplus
from api.dashboard.app import add_dashboard
from api.documentation import add_documentation
from api.openai import (
    batches,
    chat,
    completions,
    embeddings,
    files,
    fine_tuning,
    images,
    unserved,
    uploads,
)
from api.openai import models as openai_models
from api.routes import (
    datasets,
    deliveries,
    events,
    failures,
    families,
    health,
    items,
    jobs,
    keys,
    metrics,
    models,
    outputs,
    provenance,
    reviews,
    usage,
    webhooks,
)
from api.walled import Walled
from shared import wall
from shared.log import set_up
from shared.metrics import start as start_counting
from shared.services import sign_ins
from shared.settings import settings

INFO = {
    "title": "Atelier",
    "version": "1",
    "description": introduction.TEXT,
}
SECURITY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of the tenant: `Authorization: Bearer atl_…`.",
}
BLUEPRINTS = (
    files.blueprint,
    batches.blueprint,
    uploads.blueprint,
    completions.blueprint,
    chat.blueprint,
    embeddings.blueprint,
    images.blueprint,
    fine_tuning.blueprint,
    openai_models.blueprint,
    unserved.blueprint,
    datasets.blueprint,
    jobs.blueprint,
    items.blueprint,
    events.blueprint,
    failures.blueprint,
    outputs.blueprint,
    reviews.blueprint,
    provenance.blueprint,
    models.blueprint,
    families.blueprint,
    keys.blueprint,
    usage.blueprint,
    webhooks.blueprint,
    deliveries.blueprint,
    health.blueprint,
    metrics.blueprint,
)


def create_app() -> OpenAPI:
    """A new application by the settings."""
    app = OpenAPI(
        __name__,
        info=INFO,
        security_schemes={"key": SECURITY},
        validation_error_status=400,
        validation_error_model=errors.ErrorAnswer,
        validation_error_callback=errors.answer_validation,
        doc_ui=False,
        static_folder=None,
        # No files are served there, but Bootstrap-Flask makes its own address of it.
        static_url_path="/static",
    )
    app.openapi_version = "3.1.0"
    ours = settings()
    app.config.update(
        SECRET_KEY=ours.required("secret_key"),
        SESSION_COOKIE_SECURE=ours.secure_cookies,
        # Browsers take a cookie of this name from this host alone, and over HTTPS alone.
        SESSION_COOKIE_NAME="__Host-session" if ours.secure_cookies else "session",
        PERMANENT_SESSION_LIFETIME=sign_ins.LIFE,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    if ours.trusted_proxies:
        hops = ours.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    app.wsgi_app = Walled(app.wsgi_app)  # type: ignore[method-assign]
    headers.add_to(app)
    requests.add_to(app)
    limits.add_to(app)
    auth.add_to(app)
    surplus.add_to(app)
    errors.add_to(app)
    for blueprint in BLUEPRINTS:
        app.register_api(blueprint)
    add_documentation(app)
    add_dashboard(app)
    return app


def application() -> OpenAPI:
    """What gunicorn serves: `gunicorn 'api.app:application()'`."""
    os.umask(0o077)
    set_up()
    app = create_app()
    wall.ask_for(wall.NOBODY)
    start_counting()
    _collect_rarely()
    return app


def _collect_rarely() -> None:
    """A request of 100,000 items makes a million objects, none of them garbage: looking through
    them for cycles again and again, as the defaults do, would take a quarter of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
