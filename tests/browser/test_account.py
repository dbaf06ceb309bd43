"""A person's own account in Chromium: first password, second factor, sessions elsewhere."""

from playwright.sync_api import Browser, Page, expect
from pyotp import TOTP

from api.dashboard.accounts import add_user
from shared.states import Role
from shared.tables.tenant import Tenant
from tests.browser.conftest import Site, sign_in

NEW = "four quiet otters sing"


def test_who_has_a_first_password_chooses_another_by_keyboard_alone(
    chromium: Browser, site: Site, tenant: Tenant
) -> None:
    first = add_user("otto@example.org", tenant.name, Role.REVIEWER)
    context = chromium.new_context(base_url=site.address)
    page = context.new_page()
    sign_in(page, "otto@example.org", first)
    expect(page.get_by_role("heading", name="Change the password")).to_be_visible()
    expect(page.get_by_role("navigation", name="Pages")).to_have_count(0)

    for text in (first, NEW, NEW):
        page.keyboard.type(text)  # the first field has the focus
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.get_by_role("status")).to_contain_text("Your password was changed")
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
    context.close()


def test_a_second_factor_is_set_up_and_asked_for(page: Page, site: Site) -> None:
    page.get_by_role("link", name="Account of rita@example.org").click()
    page.get_by_role("link", name="Set one up").click()
    picture = page.get_by_role("img", name="QR code")
    assert picture.evaluate("picture => picture.complete && picture.naturalWidth > 100")
    secret = page.locator(".secret").inner_text().replace(" ", "")

    page.get_by_label("Code that the app shows").fill(TOTP(secret).now())
    page.get_by_label("Your password").fill(site.password)
    page.get_by_role("button", name="Turn it on").click()
    codes = page.get_by_role("list", name="Recovery codes").get_by_role("listitem")
    expect(codes).to_have_count(10)
    recovery = codes.first.inner_text()
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_text("On: codes of an authenticator app")).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    sign_in(page, site.email, site.password)
    page.get_by_label("Code").fill("000000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The code is wrong")
    page.get_by_label("Code").fill(recovery)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_another_browser_is_seen_and_signed_out(page: Page, chromium: Browser, site: Site) -> None:
    agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1"
    context = chromium.new_context(base_url=site.address, user_agent=agent)
    elsewhere = context.new_page()
    sign_in(elsewhere, site.email, site.password)
    expect(elsewhere.get_by_role("heading", name="Overview")).to_be_visible()

    page.goto("/dashboard/account")
    expect(page.get_by_role("row", name="Chrome on Linux")).to_contain_text("here, now")
    row = page.get_by_role("row", name="Safari on iOS")
    row.get_by_role("button", name="Sign out there").click()

    expect(page.get_by_role("status")).to_contain_text("was ended")
    expect(row).to_have_count(0)
    elsewhere.goto("/dashboard/jobs")
    expect(elsewhere.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()
