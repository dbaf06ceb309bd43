"""What clients send is never a statement, a page, a path, a way to another site or a log line."""

import logging
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask

from api import auth
from api.dashboard.accounts import add_user
from shared.db import transaction
from shared.log import Lines
from shared.services import tenants
from shared.states import Role
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused
from tests.security.browser import signed_in, token_of

SCRIPT = '"><script>alert(1)</script>'
STATEMENTS = ["' OR '1'='1", "x'; DROP TABLE jobs; --", "%", "$1"]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_of_sql_is_a_name_that_nothing_has(
    api: Api, stand_in: str, statement: str
) -> None:
    api.submit({})

    assert ok(api.get(JOBS, model=statement))["data"] == []
    refused(api.request("GET", f"{JOBS}/{statement}"), 404)
    refused(api.get("/v1/models/" + statement), 404)
    assert len(ok(api.get(JOBS))["data"]) == 1


@pytest.mark.parametrize(
    "address",
    [
        "/dashboard/jobs?model={}",
        "/dashboard/failures?reason={}",
        "/dashboard/review?model={}",
        "/dashboard/review?fault={}",
        "/dashboard/models/{}",
        "/dashboard/login?next={}",
    ],
)
def test_html_in_an_address_is_shown_as_text(app: Flask, tenant: Tenant, address: str) -> None:
    browser = app.test_client() if "login" in address else signed_in(app, tenant.name)

    page = browser.get(address.format(SCRIPT))

    assert page.mimetype == "text/html"
    assert "<script>alert" not in page.text


def test_html_in_a_form_is_shown_as_text(app: Flask, tenant: Tenant) -> None:
    browser = app.test_client()
    token = token_of(browser.get("/dashboard/login").text)

    page = browser.post("/dashboard/login", data={"email": SCRIPT, "csrf_token": token})

    assert "&lt;script&gt;alert" in page.text
    assert "<script>alert" not in page.text


@pytest.mark.parametrize(
    "wanted",
    [
        "/dashboard/jobs",
        "https://evil.example.com/",
        "//evil.example.com",
        "/\\evil.example.com",
    ],
)
def test_the_sign_in_leads_to_a_page_of_this_site_alone(
    app: Flask, tenant: Tenant, wanted: str
) -> None:
    password = add_user("rita@example.org", tenant.name, Role.REVIEWER)
    browser = app.test_client()
    form = {"email": "rita@example.org", "password": password}
    form["csrf_token"] = token_of(browser.get("/dashboard/login").text)

    answer = browser.post("/dashboard/login", data=form, query_string={"next": wanted})

    location = answer.headers.get("Location", "")
    assert urlsplit(urljoin("http://localhost/", location)).netloc == "localhost"
    assert (location == wanted) is (wanted == "/dashboard/jobs")


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/static/",
        "/dashboard/static/../app.py",
        "/dashboard/static/%2e%2e/app.py",
        "/docs/swagger/..%2f..%2f__init__.py",
        "/bootstrap/static/..%2f..%2f__init__.py",
        "/.git/config",
        "/.env",
    ],
)
def test_no_folder_is_listed_and_no_file_beside_the_public_ones_is_served(
    anonymous: Api, path: str
) -> None:
    assert anonymous.get(path).status_code == 404


def test_methods_that_no_route_takes_are_refused(api: Api) -> None:
    for method in ("TRACE", "PUT", "PATCH", "CONNECT"):
        assert refused(api.request(method, JOBS), 405)["code"] == "method_not_allowed"


def test_an_error_that_nobody_foresaw_tells_nothing_of_the_inside(
    app: Flask, anonymous: Api
) -> None:
    def fails() -> str:
        raise RuntimeError("postgresql://atelier:password@database")

    app.add_url_rule("/fails", "fails", auth.public(fails))

    response = anonymous.get("/fails")

    assert refused(response, 500)["code"] == "internal"
    assert "postgresql" not in response.text
    assert "Traceback" not in response.text
    assert not app.debug


def test_one_request_is_one_line_of_the_log(
    anonymous: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "api.access")

    anonymous.get("/nothing%0A2026-01-01 INFO api.access: GET /forged 200%0d%1b[2K")

    (record,) = caplog.records
    line = Lines().format(record)
    assert len(line.splitlines()) == 1
    assert "\\n2026-01-01" in line
    assert "\x1b" not in line


def test_another_tenants_name_in_a_body_changes_nothing_of_whose_it_is(
    api: Api, stranger: Api, stand_in: str
) -> None:
    with transaction() as session:
        other = tenants.tenant_named(session, "other").id
    body = {"kind": "generation", "model": stand_in, "items": [{"params": {}}]}

    assert refused(api.post(JOBS, {**body, "tenant_id": other}), 400)["param"] == "tenant_id"
    assert ok(stranger.get(JOBS))["data"] == []
