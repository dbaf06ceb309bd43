"""No secret is ever written to the log, in neither of its forms, whatever goes well or wrong."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest
from flask import Flask
from kombu.exceptions import KombuError
from sqlalchemy import select

from api.app import create_app
from shared import log
from shared.db import reading
from shared.errors import AtelierError
from shared.queues import WORK, make_celery
from shared.settings import settings
from shared.states import Lane
from shared.storage import storage
from shared.tables.user import User
from tests.api.client import JOBS, Api, ok, refused
from tests.security.browser import HERE, signed_in, token_of
from tests.settings import forget_settings
from worker.deliveries import Sender

KEYS = "/api/v1/keys"
WEBHOOKS = "/api/v1/webhooks"
PASSWORD = "not-for-the-log"  # of engines
UNSTORABLE = "a\x00"
NOWHERE = "127.0.0.1:1"


@pytest.fixture(params=["text", "json"])
def logged(
    request: pytest.FixtureRequest, installation: object, monkeypatch: pytest.MonkeyPatch
) -> Iterator[io.StringIO]:
    """What this process logs, in the form in which an installation would."""
    monkeypatch.setenv("ATELIER_LOG_FORMAT", request.param)
    forget_settings()
    written = io.StringIO()
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    # Not by its own means, which would close the handlers of the test runner.
    root.handlers = []
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", written)
        log.set_up()
    yield written
    root.handlers, root.level = before


def assert_kept_out(logged: io.StringIO, *secrets: str) -> None:
    """None of these is in the log, and the log was written at all."""
    lines = logged.getvalue()
    assert "api.access" in lines
    assert all(len(secret) >= 8 for secret in secrets)
    assert [secret for secret in secrets if secret in lines] == []


def test_keys_and_headers_that_carry_them(logged: io.StringIO, api: Api) -> None:
    made = ok(api.post(KEYS, {"name": "a", "scopes": ["read"]}), 201)
    rotated = ok(api.post(f"{KEYS}/{made['id']}/rotate", {}), 201)
    mistyped = made["key"][:-1] + "~"
    ok(api.with_key(rotated["key"]).get(JOBS))
    refused(api.with_key(mistyped).get(JOBS), 401)
    refused(api.post(KEYS, {"name": UNSTORABLE, "scopes": ["read"]}), 400)
    refused(api.with_key(rotated["key"]).post(KEYS, {"name": "a", "scopes": ["read"]}), 403)
    refused(api.request("GET", f"{JOBS}?api_key={made['key']}"), 400)

    assert JOBS in logged.getvalue()
    assert rotated["id"] in logged.getvalue(), "the log does not say whose request it was"
    assert_kept_out(logged, str(api.key), made["key"], rotated["key"], mistyped)


def test_passwords_and_sessions_of_people(logged: io.StringIO, app: Flask, api: Api) -> None:
    browser = signed_in(app, "acme")
    session = browser.get_cookie("session")
    assert session is not None
    token = token_of(browser.get("/dashboard/").text)
    stranger = app.test_client()
    form = {
        "email": "admin@example.org",
        "password": "a-wrong-password",
        "csrf_token": token_of(stranger.get("/dashboard/login", base_url=HERE).text),
    }
    assert stranger.post("/dashboard/login", data=form).status_code == 200
    assert browser.post("/dashboard/logout", data={"csrf_token": token}).status_code == 302

    assert "/dashboard/login" in logged.getvalue()
    assert person_id() in logged.getvalue(), "the log does not say who has signed in"
    assert_kept_out(logged, "a-wrong-password", session.value, token, "test-secret-")


def person_id() -> str:
    with reading() as session:
        return session.scalars(select(User.id)).one()


def test_secrets_of_webhooks(
    logged: io.StringIO, api: Api, stand_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_EGRESS_ALLOW", "127.0.0.1/32")
    forget_settings()
    made = ok(api.post(WEBHOOKS, {"url": f"https://{NOWHERE}/hook"}), 201)
    rotated = ok(api.post(f"{WEBHOOKS}/{made['id']}/rotate"))
    api.post(WEBHOOKS, {"url": f"https://hooks.example.com/{UNSTORABLE}"})
    api.run({})
    for sent in Sender().send_due():
        sent.result(timeout=30)

    assert "was not taken" in logged.getvalue()
    assert_kept_out(logged, made["secret"], rotated["secret"])


def test_what_clients_send_that_cannot_be_stored(
    logged: io.StringIO, api: Api, stand_in: str
) -> None:
    item = {"params": {"seed": 4_071_999}}
    body = {"kind": "generation", "model": stand_in, "items": [item]}
    metadata = {"a": f"{PASSWORD}{UNSTORABLE}"}
    refused(api.post(JOBS, {**body, "metadata": metadata}), 400)

    assert "cannot be stored" in logged.getvalue()
    assert_kept_out(logged, PASSWORD)


def test_the_operators_token(
    logged: io.StringIO, anonymous: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_METRICS_TOKEN", PASSWORD)
    forget_settings()
    assert anonymous.with_key(PASSWORD).get("/metrics").status_code == 200
    refused(anonymous.with_key("another-token").get("/metrics"), 401)

    assert_kept_out(logged, PASSWORD, "another-token")


def test_passwords_of_engines_that_do_not_answer(
    logged: io.StringIO, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        for name in ("ATELIER_DATABASE_URL", "ATELIER_API_DATABASE_URL"):
            away.setenv(name, f"postgresql://atelier:{PASSWORD}@{NOWHERE}/atelier")
        away.setenv("ATELIER_REDIS_URL", f"redis://:{PASSWORD}@{NOWHERE}/0")
        away.setenv("ATELIER_STORAGE_URL", "s3://bucket")
        away.setenv("ATELIER_S3_ENDPOINT", f"http://{NOWHERE}")
        away.setenv("ATELIER_S3_ACCESS_KEY", "access-key-of-s3")
        away.setenv("ATELIER_S3_SECRET_KEY", PASSWORD)
        forget_settings()
        client = Api(create_app().test_client(), api_key)
        refused(client.get(JOBS), 503)
        client.with_key(None).get("/openapi.json")
        with pytest.raises(KombuError) as no_hint:
            make_celery().send_task(WORK, args=[Lane.TEXT], queue=Lane.TEXT, retry=False)
        with pytest.raises(AtelierError) as not_stored:
            storage().open("key")
        logging.getLogger("test").error("%s", no_hint.value, exc_info=no_hint.value)
        logging.getLogger("test").error("%s", not_stored.value, exc_info=not_stored.value)
        logging.getLogger("test").error("with these settings: %r", settings())
    forget_settings()

    assert "the database does not answer" in logged.getvalue()
    assert "Redis does not answer" in logged.getvalue()
    assert_kept_out(logged, PASSWORD)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATELIER_SECRET_KEY", PASSWORD),
        ("ATELIER_DATABASE_URL", f"mysql://atelier:{PASSWORD}@host/atelier"),
        ("ATELIER_STORAGE_URL", f"ftp://atelier:{PASSWORD}@host"),
    ],
)
def test_unusable_settings_are_refused_without_repeating_them(
    installation: object, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    settings.cache_clear()

    with pytest.raises(AtelierError) as refused_:
        settings()

    assert name in refused_.value.message
    assert PASSWORD not in refused_.value.message
