"""Sessions of people in the dashboard: they end, and a copy of one ends with it."""

from datetime import timedelta

import pytest
from flask import Flask
from itsdangerous import TimestampSigner
from sqlalchemy import update

from api.app import create_app
from api.dashboard.accounts import add_user
from shared.db import transaction
from shared.states import Role
from shared.tables.tenant import Tenant
from shared.tables.user import User
from tests.security.browser import HERE, signed_in, token_of
from tests.settings import forget_settings

PAGE = "/dashboard/"


def test_signing_out_ends_copies_of_the_session_too(app: Flask, tenant: Tenant) -> None:
    browser = signed_in(app, tenant.name)
    kept = browser.get_cookie("session")
    assert kept is not None
    thief = app.test_client()
    thief.set_cookie("session", kept.value)
    assert thief.get(PAGE).status_code == 200

    form = {"csrf_token": token_of(browser.get(PAGE).text)}
    assert browser.post("/dashboard/logout", data=form).status_code == 302

    assert thief.get(PAGE).status_code == 302


def test_a_new_password_ends_every_session(app: Flask, tenant: Tenant) -> None:
    browser = signed_in(app, tenant.name)

    add_user("admin@example.org", tenant.name, Role.ADMIN, replace=True)

    assert browser.get(PAGE).status_code == 302


def test_a_person_who_may_no_longer_come_in_is_out_at_the_next_page(
    app: Flask, tenant: Tenant
) -> None:
    browser = signed_in(app, tenant.name)

    with transaction() as session:
        session.execute(update(User).values(active=False))

    assert browser.get(PAGE).status_code == 302


def test_a_session_ends_after_half_a_day(
    app: Flask, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = signed_in(app, tenant.name)
    now = TimestampSigner.get_timestamp
    half_a_day_s = int(timedelta(hours=12).total_seconds())

    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda it: now(it) + half_a_day_s - 60)
    assert browser.get(PAGE).status_code == 200

    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda it: now(it) + half_a_day_s + 60)
    assert browser.get(PAGE).status_code == 302


def test_a_cookie_that_was_changed_is_no_session(app: Flask, tenant: Tenant) -> None:
    kept = signed_in(app, tenant.name).get_cookie("session")
    assert kept is not None
    content, moment, signature = kept.value.rsplit(".", 2)
    forger = app.test_client()

    for forged in (f"{content}.{moment}.{signature[::-1]}", f"{content}x.{moment}.{signature}"):
        forger.set_cookie("session", forged)
        assert forger.get(PAGE).status_code == 302


def test_where_cookies_are_for_https_the_sessions_is_this_hosts_alone(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_SECURE_COOKIES", "true")
    forget_settings()

    set_ = create_app().test_client().get("/dashboard/login", base_url=HERE.replace("p:", "ps:"))

    cookie = set_.headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
