"""No secret is ever written to the log, in neither of its forms, whatever goes well or wrong."""

import io
import logging
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from flask import Flask
from kombu.exceptions import KombuError
from pyotp import TOTP
from sqlalchemy import select

from api.app import create_app
from api.dashboard.accounts import add_user
from shared import log
from shared.db import reading
from shared.errors import AtelierError
from shared.queues import WORK, make_celery
from shared.settings import settings
from shared.states import Lane, Role
from shared.storage import storage
from shared.tables.user import User
from tests.api.client import JOBS, Api, ok, refused
from tests.security.browser import HERE, send, sign_in, signed_in, token_of, try_password
from tests.settings import forget_settings
from worker.deliveries import Sender

KEYS = "/api/v1/keys"
WEBHOOKS = "/api/v1/webhooks"
PASSWORD_PAGE = "/dashboard/account/password"
SECOND_FACTOR = "/dashboard/account/second-factor"
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
    secrets = ("a-wrong-password", session.value, token, "test-secret-", "admin@example.org")
    assert_kept_out(logged, *secrets)


def line_with(logged: io.StringIO, words: str) -> str:
    """The one line that has these words."""
    (found,) = [line for line in logged.getvalue().splitlines() if words in line]
    return found


def account_in(line: str) -> str:
    """What stands in a line for the account that was tried."""
    found = re.search("account ([0-9a-f]{16})", line)
    assert found is not None, line
    return found[1]


def test_sign_ins_and_their_failures_name_the_account_and_the_address(
    logged: io.StringIO, app: Flask, api: Api
) -> None:
    password = add_user("admin@example.org", "acme", Role.ADMIN, lasting=True)
    for email, word in (
        ("Admin@Example.org", password),
        ("admin@example.org", "wrong-one"),
        ("nobody@example.org", "wrong-two"),
    ):
        client = app.test_client()
        client.environ_base["REMOTE_ADDR"] = "192.0.2.7"
        try_password(client, word, email, HERE)

    good = line_with(logged, "signed in by password")
    wrong = line_with(logged, "wrong password")
    unknown = line_with(logged, "no such account")
    assert account_in(good) == account_in(wrong) != account_in(unknown)
    assert all("192.0.2.7" in line for line in (good, wrong, unknown))
    assert all(person_id() in line for line in (good, wrong))
    assert "WARNING" in wrong
    assert_kept_out(logged, password, "wrong-one", "wrong-two", "example.org")


def test_too_many_attempts_name_no_address_of_mail(logged: io.StringIO, app: Flask) -> None:
    for number in range(11):
        client = app.test_client()
        client.environ_base["REMOTE_ADDR"] = f"192.0.2.{number}"
        try_password(client, "wrong-one", "nobody@example.org", HERE)

    refused = {account_in(line) for line in logged.getvalue().splitlines() if "no such" in line}
    assert refused == {account_in(line_with(logged, "exceeded"))}
    assert_kept_out(logged, "nobody@example.org")


def test_what_people_change_of_their_account_is_logged_without_what_is_secret(
    logged: io.StringIO, app: Flask, api: Api
) -> None:
    password = add_user("admin@example.org", "acme", Role.ADMIN, lasting=True)
    browser = sign_in(app, password)
    new = "four quiet otters sing"

    send(browser, PASSWORD_PAGE, old="wrong-one", new=new, again=new)
    send(browser, PASSWORD_PAGE, old=password, new=new, again=new)
    secret = re.findall(r'class="secret">([A-Z2-7 ]+)<', browser.get(SECOND_FACTOR).text)[0]
    totp = TOTP(secret.replace(" ", ""))
    page = send(browser, SECOND_FACTOR, code=totp.now(), password=new).text
    recovery = re.findall(r"<code>([A-Z2-7-]{29})</code>", page)
    again = sign_in(app, new)
    send(again, "/dashboard/second-factor", code="000000")
    send(again, "/dashboard/second-factor", code=recovery[0])
    send(again, f"{SECOND_FACTOR}/remove", password=new)

    for told in (
        "wrong password of who is signed in",
        "changed the password",
        "set up a second factor",
        "second factor refused",
        "second factor shown (recovery code)",
        "removed the second factor",
    ):
        assert person_id() in line_with(logged, told)
    assert_kept_out(logged, "wrong-one", password, new, secret, totp.secret, *recovery)


def test_times_are_utc_whatever_the_zone_of_the_machine(
    logged: io.StringIO, anonymous: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        anonymous.get("/api/v1/health/live")
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()

    moment = re.search(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)", line_with(logged, "health/live"))
    assert moment is not None
    off_s = (datetime.now(UTC) - datetime.fromisoformat(moment[0])).total_seconds()
    assert 0 <= off_s < 60


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
