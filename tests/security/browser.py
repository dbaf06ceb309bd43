"""A browser in this process, in which somebody has signed in to the dashboard."""

import re

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.dashboard.accounts import add_user
from shared.states import Role

_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')
HERE = "http://localhost"
EMAIL = "admin@example.org"


def token_of(page: str) -> str:
    """The token against forged requests in a page's forms."""
    found = _TOKEN.search(page)
    assert found is not None
    return found[1]


def signed_in(app: Flask, tenant_name: str, site: str = HERE) -> FlaskClient:
    """A browser in which an admin of a tenant has signed in."""
    password = add_user(EMAIL, tenant_name, Role.ADMIN, lasting=True)
    return sign_in(app, password, site=site)


def sign_in(app: Flask, password: str, email: str = EMAIL, site: str = HERE) -> FlaskClient:
    """A browser in which somebody has signed in by a password."""
    client = app.test_client()
    answer = try_password(client, password, email, site)
    assert answer.status_code == 302, answer.text
    return client


def copy_of(browser: FlaskClient, app: Flask) -> FlaskClient:
    """Another browser with the same cookie."""
    kept = browser.get_cookie("session")
    assert kept is not None
    copy = app.test_client()
    copy.set_cookie("session", kept.value)
    return copy


def may_sign_in(app: Flask, password: str, email: str = EMAIL) -> bool:
    """Whether a password lets somebody in."""
    client = app.test_client()
    return try_password(client, password, email, HERE).status_code == 302


def try_password(client: FlaskClient, password: str, email: str, site: str) -> TestResponse:
    """Send the form of the sign-in."""
    form = {
        "email": email,
        "password": password,
        "csrf_token": token_of(client.get("/dashboard/login", base_url=site).text),
    }
    headers = {"Referer": f"{site}/dashboard/login"}
    return client.post("/dashboard/login", data=form, headers=headers, base_url=site)


def send(browser: FlaskClient, page: str, to: str | None = None, **fields: str) -> TestResponse:
    """Send a form of a page, as a browser would: with its token, to where the form is sent."""
    form = {"csrf_token": token_of(browser.get(page).text), **fields}
    return browser.post(to or page, data=form)
