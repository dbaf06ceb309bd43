"""The dashboard as a person uses it, in Chromium: by mouse, by keys, on a phone, in the dark."""

import re

from playwright.sync_api import Browser, Page, expect

from shared.db import transaction
from shared.services import reviews
from shared.states import Decision
from shared.tables.tenant import Tenant
from tests.browser.conftest import Site, sign_in


def test_a_signed_in_person_sees_lanes_jobs_and_what_waits(page: Page) -> None:
    expect(page).to_have_url(re.compile(r"/dashboard/$"))
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(page.get_by_role("region", name="Lanes")).to_contain_text("5 waiting")
    expect(
        page.get_by_role("row", name=re.compile("generation stand-in succeeded"))
    ).to_be_visible()


def test_a_job_shows_its_outputs_and_leads_to_their_review(page: Page) -> None:
    page.get_by_role("link", name=re.compile("^job_")).click()
    expect(page.get_by_role("heading", name="Generation")).to_be_visible()
    expect(page.get_by_text("5 done of 5")).to_be_visible()
    page.locator(".output").first.click()
    expect(page.get_by_role("heading", name="Review")).to_be_visible()


def test_jobs_are_filtered(page: Page) -> None:
    page.goto("/dashboard/jobs")
    page.get_by_label("Kind").select_option("training")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No jobs yet")).to_be_visible()
    page.get_by_label("Kind").select_option("generation")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("link", name=re.compile("^job_"))).to_be_visible()


def test_an_output_is_rejected_with_rating_tags_and_note(page: Page, tenant: Tenant) -> None:
    page.goto("/dashboard/review")
    expect(page.locator(".continuation")).to_have_text("seed 0")
    page.get_by_label("2 ★").check()
    page.get_by_label("nonsense").check()
    page.get_by_label("Note").fill("says nothing")
    page.get_by_role("button", name="Reject").click()

    expect(page.locator(".continuation")).to_have_text("seed 1")
    expect(page.get_by_role("heading", name="Review")).to_contain_text("4 waiting")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".continuation")).to_have_text("seed 0")
    expect(page.locator(".history")).to_contain_text("reject · 2 ★ · nonsense · says nothing")
    expect(page.locator(".history")).to_contain_text("withdraw")
    with transaction() as session:
        assert reviews.waiting(session, tenant.id) == 5


def test_a_keys_verdict_is_told_from_a_persons(page: Page, tenant: Tenant) -> None:
    with transaction() as session:
        output = reviews.next_output(session, tenant.id, None)
        assert output is not None
        by_key = reviews.Reviewer(tenant.id, key_id="key_a")
        reviews.judge(session, by_key, output.id, reviews.NewVerdict(Decision.APPROVE))

    page.goto(f"/dashboard/review?output={output.id}")

    expect(page.locator(".history")).to_contain_text("approve · by an API key")


def test_the_queue_is_worked_through_by_keyboard_alone(page: Page, tenant: Tenant) -> None:
    page.goto("/dashboard/review")
    for number, key in enumerate(["a", "r", "s", "a"]):
        await_output(page, number)
        page.keyboard.press("5")
        page.keyboard.press(key)
    await_output(page, 2)
    page.keyboard.press("u")
    await_output(page, 3)
    with transaction() as session:
        assert reviews.waiting(session, tenant.id) == 3


def await_output(page: Page, seed: int) -> None:
    """Until an output is shown and the page's script, which listens to keys, has run."""
    expect(page.locator(".continuation")).to_have_text(f"seed {seed}")
    page.wait_for_load_state("load")


def test_keys_do_nothing_while_somebody_writes_a_note(page: Page) -> None:
    page.goto("/dashboard/review")
    page.get_by_label("Note").press_sequentially("a red cat")
    expect(page.get_by_label("Note")).to_have_value("a red cat")
    expect(page.locator(".continuation")).to_have_text("seed 0")


def test_every_page_fits_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 700})
    for path in (
        "",
        "jobs",
        "failures",
        "review",
        "models",
        "models/stand-in",
        "datasets",
        "webhooks",
        "account",
        "account/password",
        "account/second-factor",
    ):
        page.goto(f"/dashboard/{path}")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 375, f"/dashboard/{path} is {width} pixels wide"


def test_the_page_is_dark_where_the_system_is(chromium: Browser, site: Site) -> None:
    lightness = {}
    for scheme in ("light", "dark"):
        context = chromium.new_context(base_url=site.address, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        sign_in(page, site.email, site.password)
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness[scheme] = sum(map(int, re.findall(r"\d+", colour)[:3]))
        context.close()

    assert lightness["light"] > 600
    assert lightness["dark"] < 200


def test_a_stranger_is_sent_to_sign_in_and_a_wrong_password_tells_nothing(
    chromium: Browser, site: Site
) -> None:
    context = chromium.new_context(base_url=site.address)
    page = context.new_page()
    page.goto("/dashboard/jobs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    answers = []
    for email in (site.email, "nobody@example.org"):
        sign_in(page, email, "wrong")
        answers.append(page.get_by_role("alert").inner_text())
    assert answers[0] == answers[1]

    sign_in(page, site.email, site.password)
    page.get_by_role("button", name="Sign out").click()
    page.goto("/dashboard/jobs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()


def test_guessing_passwords_is_slowed_down_by_account(chromium: Browser, site: Site) -> None:
    context = chromium.new_context(base_url=site.address)
    page = context.new_page()
    for _ in range(10):
        sign_in(page, site.email, "guess")
    sign_in(page, site.email, site.password)
    expect(page.get_by_text("429")).to_be_visible()
    expect(page.get_by_text("Too many attempts: 10 per 15 minutes are allowed")).to_be_visible()
    context.close()


def test_a_form_without_its_token_is_refused(
    page: Page, tenant: Tenant, console: list[str]
) -> None:
    page.goto("/dashboard/review")
    page.evaluate("document.querySelectorAll('[name=csrf_token]').forEach(e => e.remove())")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="Error 400")).to_be_visible()
    console.clear()  # Chromium tells of the answer 400, which is what was wanted
    with transaction() as session:
        assert reviews.waiting(session, tenant.id) == 5
