"""Sessions of people in the dashboard: they end, and a copy of one ends with it."""

import hashlib
import re
from datetime import timedelta

import pytest
from flask import Flask
from itsdangerous import TimestampSigner
from itsdangerous.encoding import base64_decode
from sqlalchemy import select, update

from api.app import create_app
from api.dashboard.accounts import add_user, reset_password
from shared.db import reading, transaction
from shared.states import Role
from shared.tables.sign_in import SignIn
from shared.tables.tenant import Tenant
from shared.tables.user import User
from tests.operators import run
from tests.security.browser import (
    EMAIL,
    HERE,
    copy_of,
    may_sign_in,
    send,
    sign_in,
    signed_in,
    token_of,
)
from tests.settings import forget_settings

PAGE = "/dashboard/"
ACCOUNT = "/dashboard/account"


def test_signing_out_ends_copies_of_the_session_too(app: Flask, tenant: Tenant) -> None:
    browser = signed_in(app, tenant.name)
    thief = copy_of(browser, app)
    assert thief.get(PAGE).status_code == 200

    form = {"csrf_token": token_of(browser.get(PAGE).text)}
    assert browser.post("/dashboard/logout", data=form).status_code == 302

    assert thief.get(PAGE).status_code == 302


def test_signing_out_ends_no_other_session(app: Flask, tenant: Tenant) -> None:
    password = add_user(EMAIL, tenant.name, Role.ADMIN, lasting=True)
    here, there = sign_in(app, password), sign_in(app, password)

    here.post("/dashboard/logout", data={"csrf_token": token_of(here.get(PAGE).text)})

    assert here.get(PAGE).status_code == 302
    assert there.get(PAGE).status_code == 200


def test_a_new_password_ends_every_session(app: Flask, tenant: Tenant) -> None:
    browser = signed_in(app, tenant.name)

    reset_password(EMAIL)

    assert browser.get(PAGE).status_code == 302


def test_a_person_who_may_no_longer_come_in_is_out_at_the_next_page(
    app: Flask, tenant: Tenant
) -> None:
    password = add_user(EMAIL, tenant.name, Role.ADMIN, lasting=True)
    browser = sign_in(app, password)

    run("user", "disable", EMAIL)

    assert browser.get(PAGE).status_code == 302
    assert not may_sign_in(app, password)
    assert run("user", "list", "--tenant", tenant.name).endswith("admin  disabled\n")
    run("user", "enable", EMAIL)
    assert may_sign_in(app, password)


def test_a_row_that_says_that_a_person_may_not_come_in_is_enough(
    app: Flask, tenant: Tenant
) -> None:
    browser = signed_in(app, tenant.name)

    with transaction() as session:
        session.execute(update(User).values(active=False))

    assert browser.get(PAGE).status_code == 302


def pass_time(by: timedelta) -> None:
    """As if all sessions had begun, and been used last, so much earlier."""
    with transaction() as session:
        session.execute(
            update(SignIn).values(used_at=SignIn.used_at - by, ends_at=SignIn.ends_at - by)
        )


def test_a_session_that_is_used_ends_after_half_a_day_all_the_same(
    app: Flask, tenant: Tenant
) -> None:
    browser = signed_in(app, tenant.name)

    for _ in range(11):
        pass_time(timedelta(hours=1))
        assert browser.get("/dashboard/review").status_code == 200
        # What a verdict leaves in the cookie has it signed anew.
        assert send(browser, "/dashboard/review", to="/dashboard/review/undo").status_code == 302
    pass_time(timedelta(minutes=59))
    assert browser.get(PAGE).status_code == 200
    pass_time(timedelta(minutes=2))
    assert browser.get(PAGE).status_code == 302


def test_a_session_that_nobody_uses_ends_after_two_hours(app: Flask, tenant: Tenant) -> None:
    browser = signed_in(app, tenant.name)

    for _ in range(3):
        pass_time(timedelta(minutes=50))
        # What an open page asks for by itself is no use of it.
        answer = browser.get("/dashboard/overview/live").status_code
    assert answer == 302

    browser = sign_in(app, reset_password(EMAIL, lasting=True))
    for _ in range(3):
        pass_time(timedelta(minutes=50))
        assert browser.get(PAGE).status_code == 200


def test_a_cookie_is_worth_nothing_after_half_a_day(
    app: Flask, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = signed_in(app, tenant.name)
    now = TimestampSigner.get_timestamp
    half_a_day_s = int(timedelta(hours=12).total_seconds())

    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda it: now(it) + half_a_day_s - 60)
    assert browser.get(PAGE).status_code == 200

    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda it: now(it) + half_a_day_s + 60)
    assert browser.get(PAGE).status_code == 302


def test_an_eleventh_session_ends_the_oldest(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_LOGIN_LIMIT", "100 per minute")
    forget_settings()
    app = create_app()
    password = add_user(EMAIL, tenant.name, Role.ADMIN, lasting=True)
    browsers = [sign_in(app, password) for _ in range(10)]
    assert {browser.get(PAGE).status_code for browser in browsers} == {200}

    browsers.append(sign_in(app, password))

    assert [browser.get(PAGE).status_code for browser in browsers] == [302] + 10 * [200]


def test_people_see_where_they_are_signed_in_and_sign_out_there(app: Flask, tenant: Tenant) -> None:
    password = add_user(EMAIL, tenant.name, Role.ADMIN, lasting=True)
    here, there = sign_in(app, password), sign_in(app, password)
    (address,) = re.findall(r'action="(/dashboard/sign-ins/signin_[^"]+)"', here.get(ACCOUNT).text)

    assert send(here, ACCOUNT, to=address).status_code == 302

    assert there.get(PAGE).status_code == 302
    assert "signin_" not in here.get(ACCOUNT).text
    assert send(here, ACCOUNT, to=address).status_code == 404


def test_people_sign_out_everywhere_else_at_once(app: Flask, tenant: Tenant) -> None:
    password = add_user(EMAIL, tenant.name, Role.ADMIN, lasting=True)
    here, *others = [sign_in(app, password) for _ in range(3)]

    assert send(here, ACCOUNT, to="/dashboard/sign-ins/end-others").status_code == 302

    assert [other.get(PAGE).status_code for other in others] == [302, 302]
    assert here.get(PAGE).status_code == 200


def test_nobody_ends_the_session_of_another(app: Flask, tenant: Tenant) -> None:
    victim = signed_in(app, tenant.name)
    other = "rita@example.org"
    stranger = sign_in(app, add_user(other, tenant.name, Role.ADMIN, lasting=True), other)
    with reading() as session:
        owner = select(User.id).where(User.email == EMAIL).scalar_subquery()
        id_ = session.scalars(select(SignIn.id).where(SignIn.user_id == owner)).one()

    answer = send(stranger, ACCOUNT, to=f"/dashboard/sign-ins/{id_}/end")

    assert answer.status_code == 404
    assert victim.get(PAGE).status_code == 200


def test_an_operator_ends_the_sessions_of_a_person(app: Flask, tenant: Tenant) -> None:
    browser = signed_in(app, tenant.name)

    run("user", "sign-out", EMAIL)

    assert browser.get(PAGE).status_code == 302


def test_of_a_session_the_database_keeps_no_more_than_a_hash(app: Flask, tenant: Tenant) -> None:
    browser = signed_in(app, tenant.name)
    with browser.session_transaction(PAGE) as cookie:
        token = cookie["_user_id"]

    with reading() as session:
        kept = session.scalars(select(SignIn)).one()

    assert kept.hash == hashlib.sha256(token.encode()).digest()
    assert len(token) >= 43


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


def test_cookies_are_signed_with_todays_hash(app: Flask, tenant: Tenant) -> None:
    kept = signed_in(app, tenant.name).get_cookie("session")
    assert kept is not None
    signature = kept.value.rpartition(".")[2]

    assert len(base64_decode(signature)) == hashlib.sha256().digest_size
