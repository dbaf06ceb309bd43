"""The second factor of people: codes by time, each good once, and recovery codes."""

import html
import re
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pyotp import TOTP
from sqlalchemy import select

from api.app import create_app
from api.dashboard.accounts import add_user, reset_password
from shared.db import reading
from shared.services import second_factors
from shared.states import Role
from shared.tables.tenant import Tenant
from shared.tables.user import User
from tests.operators import run
from tests.security.browser import EMAIL, copy_of, send, sign_in, token_of
from tests.settings import forget_settings

PAGE = "/dashboard/"
SET_UP = "/dashboard/account/second-factor"
REMOVE = f"{SET_UP}/remove"
ASKS = "/dashboard/second-factor"


@pytest.fixture
def password(tenant: Tenant) -> str:
    return add_user(EMAIL, tenant.name, Role.ADMIN, lasting=True)


class Clock(datetime):
    """The time of day, later than it is by as much as a test wants."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) + cls.ahead


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(second_factors, "datetime", Clock)
    monkeypatch.setattr(Clock, "ahead", timedelta())
    return Clock


class App:
    """An authenticator app that has read the picture of a browser's page."""

    def __init__(self, browser: FlaskClient):
        page = html.unescape(browser.get(SET_UP).text)
        (grouped,) = re.findall(r'class="secret">([A-Z2-7 ]+)<', page)
        self.secret = grouped.replace(" ", "")
        self._totp = TOTP(self.secret)

    def code(self, off: timedelta = timedelta()) -> str:
        return self._totp.at(Clock.now() + off)


def set_up(browser: FlaskClient, password: str) -> tuple[App, list[str]]:
    """Set up a second factor; gives the app and the recovery codes."""
    app = App(browser)
    page = send(browser, SET_UP, code=app.code(), password=password).text
    codes = re.findall(r"<code>([A-Z2-7-]{29})</code>", page)
    assert len(set(codes)) == 10, page
    Clock.ahead += timedelta(seconds=60)
    return app, codes


def test_with_a_second_factor_the_password_opens_nothing(app: Flask, password: str) -> None:
    set_up(sign_in(app, password), password)
    browser = sign_in(app, password)

    for page in (PAGE, "/dashboard/review", "/dashboard/account", SET_UP, REMOVE):
        answer = browser.get(page)
        assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, ASKS)
    for wrong in ("", "000000", "abcdef", "ABCD-EFGH"):
        assert "wrong" in send(browser, ASKS, code=wrong).text
    assert browser.get(PAGE).status_code == 302


def test_a_code_opens_the_page_that_was_wanted(app: Flask, password: str) -> None:
    authenticator, _ = set_up(sign_in(app, password), password)
    browser = sign_in(app, password)
    asking = browser.get("/dashboard/jobs?kind=training").headers["Location"]

    answer = send(browser, asking, code=authenticator.code())

    assert answer.headers["Location"] == "/dashboard/jobs?kind=training"
    assert browser.get(PAGE).status_code == 200
    assert browser.get(ASKS).headers["Location"] == PAGE


def test_it_leads_to_no_other_site(app: Flask, password: str) -> None:
    authenticator, _ = set_up(sign_in(app, password), password)
    browser = sign_in(app, password)
    elsewhere = ("https://evil.example", "//evil.example", "/docs", "\\\\e", "/dashboard")

    code = authenticator.code()
    answers = [send(browser, f"{ASKS}?next={elsewhere[0]}", code=code)]
    answers += [browser.get(f"{ASKS}?next={address}") for address in elsewhere]

    assert {answer.headers["Location"] for answer in answers} == {PAGE}


def test_a_code_is_good_once_for_all_sessions(app: Flask, password: str) -> None:
    authenticator, _ = set_up(sign_in(app, password), password)
    first, second = sign_in(app, password), sign_in(app, password)
    code = authenticator.code()

    assert send(first, ASKS, code=code).status_code == 302
    assert "used before" in send(second, ASKS, code=code).text

    assert second.get(PAGE).status_code == 302
    before = authenticator.code(off=timedelta(seconds=-30))
    assert "used before" in send(second, ASKS, code=before).text


def test_the_code_of_the_set_up_is_used_up_too(app: Flask, password: str) -> None:
    browser = sign_in(app, password)
    authenticator = App(browser)
    code = authenticator.code()
    send(browser, SET_UP, code=code, password=password)

    assert "used before" in send(sign_in(app, password), ASKS, code=code).text


def test_a_clock_may_be_off_by_half_a_minute_and_no_more(app: Flask, password: str) -> None:
    authenticator, _ = set_up(sign_in(app, password), password)
    browser = sign_in(app, password)

    for off_s in (-90, 90):
        code = authenticator.code(off=timedelta(seconds=off_s))
        assert "wrong" in send(browser, ASKS, code=code).text, off_s
    code = authenticator.code(off=timedelta(seconds=30))
    assert send(browser, ASKS, code=f" {code[:3]} {code[3:]} ").status_code == 302


def test_guesses_of_a_code_are_counted_for_the_person(app: Flask, password: str) -> None:
    authenticator, _ = set_up(sign_in(app, password), password)
    browsers = [sign_in(app, password), sign_in(app, password)]

    # The set-up has counted once.
    answers = [send(browsers[n % 2], ASKS, code="000000").status_code for n in range(10)]

    assert answers == [200] * 9 + [429]
    assert send(browsers[0], ASKS, code=authenticator.code()).status_code == 429


def test_a_recovery_code_is_good_once_in_whatever_way_it_is_written(
    app: Flask, password: str
) -> None:
    _, codes = set_up(sign_in(app, password), password)
    browser = sign_in(app, password)

    assert send(browser, ASKS, code=codes[3].lower().replace("-", " ")).status_code == 302
    assert browser.get(PAGE).status_code == 200

    again = sign_in(app, password)
    assert "used before" in send(again, ASKS, code=codes[3]).text
    assert send(again, ASKS, code=codes[4]).status_code == 302


def test_of_recovery_codes_only_hashes_are_kept(app: Flask, password: str) -> None:
    _, codes = set_up(sign_in(app, password), password)

    with reading() as session:
        kept = session.scalars(select(User.recovery_hashes)).one()

    assert {len(each) for each in kept} == {32}
    assert not {code.encode() for code in codes} & set(kept)


def test_showing_it_gives_the_session_another_token(app: Flask, password: str) -> None:
    authenticator, _ = set_up(sign_in(app, password), password)
    browser = sign_in(app, password)
    thief = copy_of(browser, app)

    send(browser, ASKS, code=authenticator.code())

    assert "/dashboard/login" in thief.get(ASKS).headers["Location"]


def test_it_is_set_up_with_the_password_and_a_code_alone(app: Flask, password: str) -> None:
    browser = sign_in(app, password)
    authenticator = App(browser)

    assert (
        "password is wrong" in send(browser, SET_UP, code=authenticator.code(), password="x").text
    )
    assert "not the one" in send(browser, SET_UP, code="000000", password=password).text

    assert sign_in(app, password).get(PAGE).status_code == 200


def test_setting_it_up_signs_out_everywhere_else(app: Flask, password: str) -> None:
    here, there = sign_in(app, password), sign_in(app, password)

    set_up(here, password)

    assert here.get(PAGE).status_code == 200
    assert there.get(PAGE).status_code == 302


def test_a_browser_cannot_choose_the_secret(app: Flask, password: str) -> None:
    browser = sign_in(app, password)
    shown = App(browser)
    own = "A" * 32

    answer = send(browser, SET_UP, code=TOTP(own).now(), password=password, secret=own)

    assert "not the one" in answer.text
    assert send(browser, SET_UP, code=shown.code(), password=password).status_code == 200


def test_no_cookie_holds_a_secret_that_is_being_set_up(app: Flask, password: str) -> None:
    browser = sign_in(app, password)
    secret = App(browser).secret

    with browser.session_transaction(PAGE) as cookie:
        assert secret not in str(dict(cookie))
    assert App(browser).secret == secret, "a page that is loaded again must not offer another"
    assert App(sign_in(app, password)).secret != secret


def test_it_is_removed_with_the_password_alone(app: Flask, password: str) -> None:
    browser = sign_in(app, password)
    set_up(browser, password)

    assert "is wrong" in send(browser, REMOVE, password="wrong").text
    assert sign_in(app, password).get(PAGE).status_code == 302
    assert send(browser, REMOVE, password=password).status_code == 302

    assert sign_in(app, password).get(PAGE).status_code == 200


def test_an_operator_removes_a_lost_one_and_ends_the_sessions(app: Flask, password: str) -> None:
    browser = sign_in(app, password)
    set_up(browser, password)

    run("user", "remove-second-factor", EMAIL)

    assert browser.get(PAGE).status_code == 302
    assert sign_in(app, password).get(PAGE).status_code == 200
    with reading() as session:
        assert session.scalars(select(User.recovery_hashes)).one() == []


def test_a_reset_of_the_password_leaves_the_second_factor(app: Flask, password: str) -> None:
    authenticator, _ = set_up(sign_in(app, password), password)

    made = run("user", "reset-password", EMAIL).strip()

    browser = sign_in(app, made)
    assert browser.get(PAGE).headers["Location"].startswith(ASKS)
    send(browser, ASKS, code=authenticator.code())
    assert browser.get(PAGE).headers["Location"].startswith("/dashboard/account/password")


def test_a_code_completes_no_sign_in_by_a_password_that_was_reset_meanwhile(
    app: Flask, password: str
) -> None:
    authenticator, _ = set_up(sign_in(app, password), password)
    browser = sign_in(app, password)
    form = {"csrf_token": token_of(browser.get(ASKS).text), "code": authenticator.code()}

    reset_password(EMAIL)

    assert "/dashboard/login" in browser.post(ASKS, data=form).headers["Location"]
    assert "/dashboard/login" in browser.get(PAGE).headers["Location"]


def test_where_it_is_demanded_nobody_is_let_in_without(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_REQUIRE_SECOND_FACTOR", "true")
    forget_settings()
    browser = sign_in(create_app(), password)

    for page in (PAGE, "/dashboard/review", "/dashboard/account"):
        assert browser.get(page).headers["Location"].startswith(SET_UP), page
    set_up(browser, password)

    assert browser.get(PAGE).status_code == 200
    send(browser, REMOVE, password=password)
    assert browser.get(PAGE).headers["Location"].startswith(SET_UP)
