"""The dashboard for those who look after the work: pausing, failures, webhooks, in Chromium."""

import re
from datetime import UTC, datetime

from playwright.sync_api import Page, expect

from shared.db import transaction
from shared.services import deliveries, webhooks
from shared.services.deliveries import Outcome
from shared.states import Lane
from shared.tables.tenant import Tenant
from tests.ledger import finish, look, submit, take


def test_an_admin_pauses_a_job_and_resumes_it(page: Page, tenant: Tenant) -> None:
    job = submit(tenant.id, [{}] * 3)
    page.goto(f"/dashboard/jobs/{job.id}")
    page.get_by_role("button", name="Pause this job").click()
    expect(page.get_by_text("paused").first).to_be_visible()
    assert look(job).state == "paused"

    page.get_by_role("button", name="Resume this job").click()
    expect(page.get_by_role("button", name="Pause this job")).to_be_visible()
    assert len(take().items) == 3


def test_all_that_failed_of_one_reason_is_retried(page: Page, tenant: Tenant) -> None:
    from worker.runner import drain

    job = submit(tenant.id, [{"fault": "refuse"}] * 2)
    drain(Lane.TEXT)
    page.goto("/dashboard/failures")
    expect(page.get_by_role("row", name=re.compile("invalid_value 2 1"))).to_be_visible()
    page.locator("summary").first.click()
    expect(page.locator("details[open]")).to_contain_text(job.id)
    page.get_by_role("button", name="Retry all").click()

    expect(page.get_by_text("No item has failed.")).to_be_visible()
    assert look(job).queued == 2


def test_a_delivery_is_sent_again(page: Page, tenant: Tenant) -> None:
    with transaction() as session:
        webhook = webhooks.create(session, tenant.id, "https://hooks.example.com/a", ["*"])
    submit(tenant.id, [{}])
    finish(take())
    with transaction() as session:
        (due,) = deliveries.take(session, 1)
        deliveries.report(session, due, Outcome(204, ""), datetime.now(UTC))
    page.goto("/dashboard/webhooks")
    page.get_by_role("link", name="https://hooks.example.com/a").click()
    expect(page.get_by_role("row", name=re.compile("job.completed"))).to_contain_text("delivered")
    page.get_by_role("button", name="Send again").click()

    expect(page.get_by_role("row", name=re.compile("job.completed"))).to_contain_text("pending")
    with transaction() as session:
        assert [again.webhook_id for again in deliveries.take(session, 1)] == [webhook.id]
