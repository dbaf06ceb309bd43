"""A real Chromium on a served dashboard with real outputs in it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from api.app import create_app
from api.dashboard.accounts import add_user
from shared.states import Lane, Role
from shared.tables.tenant import Tenant
from tests.ledger import submit
from tests.threads import served

CHROMIUM = Path("/usr/bin/chromium")
_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Site:
    """A served dashboard and somebody who may sign in to it."""

    address: str
    email: str
    password: str


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        if "CI" in os.environ:
            pytest.fail("CI must have Chromium; .ci/run installs it")
        pytest.skip("no Chromium at /usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def site(tenant: Tenant, stand_in: str) -> Iterator[Site]:
    from worker.runner import drain

    submit(tenant.id, [{"seed": seed} for seed in range(5)])
    drain(Lane.TEXT)
    password = add_user("rita@example.org", tenant.name, Role.ADMIN, lasting=True)
    with served(create_app()) as address:
        yield Site(address, "rita@example.org", password)


@pytest.fixture
def console() -> list[str]:
    """Errors that the browser's console has told of."""
    return []


@pytest.fixture
def page(chromium: Browser, site: Site, console: list[str]) -> Iterator[Page]:
    """A signed-in page; a test fails if the browser's console tells of an error."""
    context = chromium.new_context(base_url=site.address)
    page = context.new_page()
    page.on("console", lambda said: console.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: console.append(str(error)))
    sign_in(page, site.email, site.password)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    yield page
    context.close()
    assert console == []


def sign_in(page: Page, email: str, password: str) -> None:
    page.goto("/dashboard/login")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
