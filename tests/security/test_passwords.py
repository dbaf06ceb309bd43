"""Passwords of people: changed by who knows the old one, hard to guess, and the first used once."""

import base64
import unicodedata
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask_security.utils import get_hmac
from sqlalchemy import select, update

from api.dashboard import passwords
from api.dashboard.accounts import add_user, make_access, reset_password
from shared.db import reading, transaction
from shared.services import sign_ins, users
from shared.states import Role
from shared.tables.tenant import Tenant
from shared.tables.user import User
from tests.operators import command, run
from tests.security.browser import (
    EMAIL,
    HERE,
    copy_of,
    may_sign_in,
    send,
    sign_in,
    try_password,
)

PAGE = "/dashboard/"
FORM = "/dashboard/account/password"
NEW = "four quiet otters sing"


@pytest.fixture
def old(tenant: Tenant) -> str:
    """The password of a person who has chosen it."""
    return add_user(EMAIL, tenant.name, Role.ADMIN, lasting=True)


def test_people_change_their_password_and_are_signed_out_everywhere_else(
    app: Flask, old: str
) -> None:
    here, there = sign_in(app, old), sign_in(app, old)

    answer = send(here, FORM, old=old, new=NEW, again=NEW)

    assert answer.headers["Location"] == "/dashboard/account?done=password"
    assert here.get(PAGE).status_code == 200
    assert there.get(PAGE).status_code == 302
    assert not may_sign_in(app, old)
    assert may_sign_in(app, NEW)


def test_a_change_gives_the_session_another_token(app: Flask, old: str) -> None:
    browser = sign_in(app, old)
    thief = copy_of(browser, app)

    send(browser, FORM, old=old, new=NEW, again=NEW)

    assert thief.get(PAGE).status_code == 302


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ("fourteen chars", "fewer than 15 characters"),
        ("passwordpassword", "easy to guess"),
        ("1234567890123456", "easy to guess"),
        ("qwertyuiopasdfghjkl", "easy to guess"),
        ("admin@example.org", "easy to guess"),
        ("atelieratelier99", "easy to guess"),
    ],
)
def test_what_is_short_or_common_is_refused(app: Flask, old: str, new: str, told: str) -> None:
    browser = sign_in(app, old)

    assert told in send(browser, FORM, old=old, new=new, again=new).text

    assert not may_sign_in(app, new)
    assert browser.get(PAGE).status_code == 200


@pytest.mark.parametrize(
    "new",
    [
        "four quiet otters sing",
        "    ein Übel kömmt selten    ",
        "虎は死して皮を留め人は死して名を残す",
        "🐢🦀🐙🦉🐝🦊🐳🦔🐞🦜🐌🦩🐊🦥🐪",
        "<script>alert('1')</script>",
        "0af3" * 5 + "qeg-vbz" * 40,
    ],
)
def test_any_characters_are_good_and_any_length(app: Flask, old: str, new: str) -> None:
    send(sign_in(app, old), FORM, old=old, new=new, again=new)

    assert may_sign_in(app, new)
    assert not may_sign_in(app, new.strip()[:-1])


def test_one_text_is_one_password_however_it_is_written(app: Flask, old: str) -> None:
    composed = unicodedata.normalize("NFC", "vier grüne Äpfel über Bäumen")
    taken_apart = unicodedata.normalize("NFD", composed)
    assert composed != taken_apart
    send(sign_in(app, old), FORM, old=old, new=composed, again=composed)

    assert may_sign_in(app, composed)
    assert may_sign_in(app, taken_apart)


def test_a_made_one_has_96_random_bits() -> None:
    made = {passwords.make() for _ in range(100)}

    assert len(made) == 100
    assert {len(base64.urlsafe_b64decode(each)) for each in made} == {96 // 8}


def test_without_the_old_password_nothing_is_changed(app: Flask, old: str) -> None:
    browser = sign_in(app, old)

    for wrong in ("", "wrong", NEW):
        assert "is wrong" in send(browser, FORM, old=wrong, new=NEW, again=NEW).text

    assert not may_sign_in(app, NEW)
    assert may_sign_in(app, old)


def test_what_was_not_written_alike_or_is_the_old_one_is_refused(app: Flask, old: str) -> None:
    browser = sign_in(app, old)

    assert "both times" in send(browser, FORM, old=old, new=NEW, again=NEW + "!").text
    assert "is the old one" in send(browser, FORM, old=old, new=old, again=old).text

    assert not may_sign_in(app, NEW)


def test_guesses_of_the_old_password_are_counted(app: Flask, old: str) -> None:
    browser = sign_in(app, old)

    answers = [send(browser, FORM, old="x", new=NEW, again=NEW).status_code for _ in range(11)]

    assert answers == [200] * 10 + [429]
    assert send(browser, FORM, old=old, new=NEW, again=NEW).status_code == 429


def test_a_first_password_opens_nothing_but_the_choice_of_another(
    app: Flask, tenant: Tenant
) -> None:
    first = add_user(EMAIL, tenant.name, Role.ADMIN)
    browser = sign_in(app, first)

    for page in (PAGE, "/dashboard/review", "/dashboard/account"):
        assert browser.get(page).headers["Location"].startswith(FORM), page
    assert "made for you" in browser.get(FORM).text
    assert "is the old one" in send(browser, FORM, old=first, new=first, again=first).text
    assert browser.get(PAGE).status_code == 302

    send(browser, FORM, old=first, new=NEW, again=NEW)

    assert browser.get(PAGE).status_code == 200
    assert not may_sign_in(app, first)


def test_a_forgotten_password_is_reset_by_an_operator(app: Flask, old: str) -> None:
    browser = sign_in(app, old)

    made = run("user", "reset-password", EMAIL.upper()).strip()

    assert browser.get(PAGE).status_code == 302
    assert not may_sign_in(app, old)
    again = sign_in(app, made)
    assert again.get(PAGE).headers["Location"].startswith(FORM)


@pytest.fixture
def reset_before(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType, str], list[str]]:
    """Has an operator reset the password just before a step of a sign-in; gives the new one."""

    def change(service: ModuleType, step: str) -> list[str]:
        made: list[str] = []
        original = getattr(service, step)

        def late(*arguments: Any) -> Any:
            monkeypatch.setattr(service, step, original)
            made.append(reset_password(EMAIL, lasting=True))
            return original(*arguments)

        monkeypatch.setattr(service, step, late)
        return made

    return change


def test_a_sign_in_under_way_does_not_outlive_its_password(
    app: Flask, old: str, reset_before: Callable[[ModuleType, str], list[str]]
) -> None:
    made = reset_before(sign_ins, "begin")

    browser = app.test_client()
    answer = try_password(browser, old, EMAIL, HERE)

    assert answer.status_code == 200
    assert "Authentication failed" in answer.text
    assert browser.get(PAGE).status_code == 302
    assert may_sign_in(app, *made)


def keep_outdated_hash(app: Flask, password: str) -> None:
    """As if the password had been hashed when a hash was less work than it is today."""
    with app.app_context():
        outdated = PasswordHasher(time_cost=1, memory_cost=1024).hash(get_hmac(password))
    with transaction() as session:
        session.execute(update(User).values(password=outdated))


def test_a_hash_of_old_parameters_is_made_anew_at_the_next_sign_in(app: Flask, old: str) -> None:
    keep_outdated_hash(app, old)

    assert may_sign_in(app, old)

    with reading() as session:
        assert ",t=1," not in session.scalars(select(User.password)).one()
    assert may_sign_in(app, old)


def test_a_hash_that_is_made_anew_brings_no_old_password_back(
    app: Flask, old: str, reset_before: Callable[[ModuleType, str], list[str]]
) -> None:
    keep_outdated_hash(app, old)
    made = reset_before(users, "keep_hash")

    assert not may_sign_in(app, old)

    assert may_sign_in(app, *made)
    assert not may_sign_in(app, old)


def test_of_a_password_a_slow_hash_is_kept(app: Flask, old: str) -> None:
    send(sign_in(app, old), FORM, old=old, new=NEW, again=NEW)

    with reading() as session:
        kept = session.scalars(select(User.password)).one()

    assert kept.startswith("$argon2id$")


def test_the_password_of_the_demo_lasts_until_the_next_demo(app: Flask, tenant: Tenant) -> None:
    first, second = (make_access(EMAIL, tenant.name, Role.ADMIN) for _ in range(2))

    assert sign_in(app, second).get(PAGE).status_code == 200
    assert not may_sign_in(app, first)


def test_an_unknown_person_is_named_with_the_way_to_find_them(tenant: Tenant) -> None:
    for what in ("reset-password", "sign-out", "remove-second-factor", "disable"):
        done = command("user", what, "nobody@example.org")

        assert done.exit_code == 1
        assert done.stderr == (
            "Error: No user 'nobody@example.org'. `atelier user list` tells who there is.\n"
        )


def test_the_list_of_people_tells_who_still_has_a_first_password(app: Flask, old: str) -> None:
    add_user("rita@example.org", "acme", Role.REVIEWER)

    people = run("user", "list", "--tenant", "acme").splitlines()

    told = [line.split(maxsplit=3)[1:] for line in people]
    assert told == [
        [EMAIL, "admin"],
        ["rita@example.org", "reviewer", "first password"],
    ]
