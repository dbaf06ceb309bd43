"""Every page of the dashboard asks who is there, and shows nobody what is another tenant's."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import auth
from api.dashboard.accounts import add_user
from shared.states import Role
from tests.api.client import Api, new_tenant
from tests.security.routes import everything
from tests.security.things import make

SIGN_IN = {"security.login", "security.logout", "security.static"}
_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


def pages(app: Flask) -> list[tuple[str, str]]:
    """Method and address of every page behind the sign-in."""
    found = [
        (method, rule)
        for method, rule, endpoint in everything(app)
        if auth.access_of(app, endpoint) == auth.SESSION and endpoint not in SIGN_IN
    ]
    assert len(found) > 20
    return found


def token_of(page: str) -> str:
    """The token against forged requests in a page's forms."""
    found = _TOKEN.search(page)
    assert found is not None
    return found[1]


def signed_in(app: Flask, tenant_name: str) -> FlaskClient:
    """A browser in which an admin of a tenant has signed in."""
    password = add_user("admin@example.org", tenant_name, Role.ADMIN)
    client = app.test_client()
    form = {
        "email": "admin@example.org",
        "password": password,
        "csrf_token": token_of(client.get("/dashboard/login").text),
    }
    assert client.post("/dashboard/login", data=form).status_code == 302
    return client


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
    new_tenant("strangers")
    browser = signed_in(app, "strangers")
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
