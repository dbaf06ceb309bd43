"""A browser in this process, in which somebody has signed in to the dashboard."""

import re

from flask import Flask
from flask.testing import FlaskClient

from api.dashboard.accounts import add_user
from shared.states import Role

_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')
HERE = "http://localhost"


def token_of(page: str) -> str:
    """The token against forged requests in a page's forms."""
    found = _TOKEN.search(page)
    assert found is not None
    return found[1]


def signed_in(app: Flask, tenant_name: str, site: str = HERE) -> FlaskClient:
    """A browser in which an admin of a tenant has signed in."""
    password = add_user("admin@example.org", tenant_name, Role.ADMIN)
    client = app.test_client()
    form = {
        "email": "admin@example.org",
        "password": password,
        "csrf_token": token_of(client.get("/dashboard/login", base_url=site).text),
    }
    headers = {"Referer": f"{site}/dashboard/login"}
    answer = client.post("/dashboard/login", data=form, headers=headers, base_url=site)
    assert answer.status_code == 302, answer.text
    return client
