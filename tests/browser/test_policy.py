"""The content security policy in Chromium: every page keeps it, and it holds what is against it."""

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from api import auth
from api.app import create_app
from tests.api.client import Api
from tests.browser.conftest import Site
from tests.security.routes import everything
from tests.security.things import make

_LISTEN = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}`);
});
"""
_NOT_PAGES = re.compile(r"/(live|sheet|content|login|logout)$|/sheets/|static/")
"""Parts of pages, files, and the forms that every other test goes through."""


def violations(page: Page) -> list[str]:
    return page.evaluate("window.violations")


@pytest.fixture
def watched(page: Page) -> Page:
    """A signed-in page that notes what its policy has held back."""
    page.add_init_script(_LISTEN)
    return page


@pytest.fixture
def docs(chromium: Browser, site: Site) -> Iterator[Page]:
    """The page of the API's description, of which nothing is held back and no error told."""
    context = chromium.new_context(base_url=site.address)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script(_LISTEN)
    page.goto("/docs")
    yield page
    assert violations(page) == []
    assert errors == []
    context.close()


def pages(app: Flask, things: dict[str, str]) -> list[str]:
    """The address of every page of the dashboard."""
    found = [
        re.sub(r"<[^>]+>", things.get(rule.split("/")[2], ""), rule)
        for method, rule, endpoint in everything(app)
        if method == "GET" and auth.access_of(app, endpoint) == auth.SESSION
        if not _NOT_PAGES.search(rule)
    ]
    assert len(found) >= 11
    return found


def test_no_page_of_the_dashboard_is_against_its_own_policy(
    watched: Page, api_key: str, stand_in: str
) -> None:
    app = create_app()
    things = make(Api(app.test_client(), api_key))

    for address in pages(app, things):
        answer = watched.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        watched.wait_for_load_state("networkidle")
        assert violations(watched) == [], address


def test_a_script_that_got_into_a_page_does_not_run(watched: Page, console: list[str]) -> None:
    watched.goto("/dashboard/")
    watched.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<b style="color: red" id="styled">x</b>');
    }""")

    assert watched.evaluate("window.ran") is None
    assert len(violations(watched)) == 2
    console.clear()  # Chromium tells of both, which is what was wanted


def test_the_description_is_read_and_tried_within_its_policy(docs: Page, api_key: str) -> None:
    docs.get_by_role("button", name="Authorize").click()
    docs.get_by_label("auth-bearer-value").fill(api_key)
    docs.get_by_role("button", name="Apply credentials").click()
    docs.get_by_role("button", name="Close").click()
    operation = docs.locator(".opblock").filter(has_text="List jobs")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()

    expect(operation.locator(".live-responses-table .response-col_status").last).to_have_text(
        re.compile("200")
    )
