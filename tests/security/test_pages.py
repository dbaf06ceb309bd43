"""Every page of the dashboard asks who is there, and shows nobody what is another tenant's."""

import re

import pytest
from flask import Flask
from sqlalchemy import select

from api import auth
from api.dashboard.accounts import add_user
from shared.db import reading
from shared.states import Role
from shared.tables.sign_in import SignIn
from tests.api.client import Api, new_tenant
from tests.security.browser import sign_in, signed_in, token_of
from tests.security.routes import everything
from tests.security.things import make

SIGN_IN = {"security.login", "security.logout", "security.static"}


def pages(app: Flask) -> list[tuple[str, str]]:
    """Method and address of every page behind the sign-in."""
    found = [
        (method, rule)
        for method, rule, endpoint in everything(app)
        if auth.access_of(app, endpoint) == auth.SESSION and endpoint not in SIGN_IN
    ]
    assert len(found) > 20
    return found


def test_without_a_session_every_page_leads_to_sign_in(app: Flask, anonymous: Api) -> None:
    for method, rule in pages(app):
        response = anonymous.request(method, re.sub(r"<[^>]+>", "1", rule))
        answer = (response.status_code, response.headers.get("Location", ""))
        assert answer[0] == 400 or (answer[0] == 302 and "/dashboard/login" in answer[1]), (
            f"{method} {rule} answered {answer}"
        )


@pytest.mark.usefixtures("stand_in")
def test_every_page_answers_404_for_another_tenants_thing(app: Flask, api: Api) -> None:
    things = make(api)
    things["review"] = things["outputs"]
    signed_in(app, "acme")
    with reading() as session:
        things["sign-ins"] = session.scalars(select(SignIn.id)).one()
    new_tenant("strangers")
    own = "rita@example.org"
    browser = sign_in(app, add_user(own, "strangers", Role.ADMIN, lasting=True), own)
    form = {"csrf_token": token_of(browser.get("/dashboard/").text), "decision": "approve"}
    with_id = [(method, rule) for method, rule in pages(app) if "<" in rule]
    assert len(with_id) > 10

    for method, rule in with_id:
        noun = rule.removeprefix("/dashboard/").partition("/")[0]
        address = re.sub(r"<int:[^>]+>", "1", rule)
        address = re.sub(r"<[^>]+>", things[noun], address)
        answer = browser.open(address, method=method, data=form if method == "POST" else None)
        assert answer.status_code == 404, f"{method} {rule} answered {answer.status_code}"


@pytest.mark.usefixtures("stand_in")
def test_every_form_is_refused_without_its_token(app: Flask, api: Api) -> None:
    things = make(api)
    browser = signed_in(app, "acme")
    for method, rule in pages(app):
        if method == "POST":
            address = re.sub(r"<int:[^>]+>", "1", rule)
            address = re.sub(r"<[^>]+>", things["outputs"], address)
            assert browser.post(address, data={"decision": "approve"}).status_code == 400, rule
