"""Webhooks: what is announced to whom, how it is signed, when it is sent again."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from shared.db import transaction
from shared.errors import Invalid
from shared.services import deliveries, jobs, retries, webhooks
from shared.services.deliveries import PAUSES_S, Due, Outcome
from shared.services.ledger.commit import Failed, commit
from shared.services.pages import Cursor
from shared.tables.tenant import Tenant
from shared.tables.webhook import Delivery, Webhook
from tests.ledger import add_other_tenant, add_stand_in, execute, finish, submit, take

pytestmark = pytest.mark.usefixtures("stand_in")


def register(tenant_id: str, *events: str) -> Webhook:
    with transaction() as session:
        return webhooks.create(session, tenant_id, "https://hooks.example.com/a", events or ["*"])


def take_due(busy: tuple[str, ...] = ()) -> list[Due]:
    with transaction() as session:
        return deliveries.take(session, 16, busy)


def report(due: Due, status: int | None, told: str = "") -> None:
    with transaction() as session:
        deliveries.report(session, due, Outcome(status, told), datetime.now(UTC))


def let_time_pass() -> None:
    execute("UPDATE deliveries SET next_at = now() WHERE state = 'pending'")


def of(webhook: Webhook) -> list[Delivery]:
    with transaction() as session:
        found = deliveries.list_deliveries(session, webhook, Cursor(order="asc", limit=100))
        return [delivery for delivery, _ in found.rows]


def unwrap(due: Due, secret: str) -> Any:
    """What a program that uses the official SDK makes of it."""
    headers = webhooks.signed_headers(due.event_id, due.body, due.secret, due.old_secret)
    with OpenAI(api_key="unused") as client:
        return client.webhooks.unwrap(due.body, headers, secret=secret)


class TestAnnounced:
    def test_a_job_that_ends_is_told_of_once(self, tenant: Tenant) -> None:
        register(tenant.id)
        job = submit(tenant.id, [{}] * 2)
        finish(take(1))
        assert take_due() == []
        finish(take(1))

        (due,) = take_due()

        body = json.loads(due.body)
        assert (body["id"], body["type"]) == (due.event_id, "job.completed")
        assert body["data"] == {
            "id": job.id,
            "object": "job",
            "kind": "generation",
            "state": "succeeded",
        }

    def test_each_kind_of_end_has_its_type(self, tenant: Tenant) -> None:
        register(tenant.id)
        submit(tenant.id, [{}])
        found = take()
        with transaction() as session:
            commit(session, found.token, [Failed(found.items[0].id, {"code": "x", "message": "x"})])
        assert json.loads(take_due()[0].body)["type"] == "job.failed"
        cancelled = submit(tenant.id, [{}])
        with transaction() as session:
            jobs.cancel(session, tenant.id, cancelled.id)
        execute("UPDATE deliveries SET state = 'delivered' WHERE attempt > 0")
        assert json.loads(take_due()[0].body)["type"] == "job.cancelled"

    def test_a_generation_on_a_model_that_was_fine_tuned_is_no_fine_tuning(
        self, tenant: Tenant
    ) -> None:
        register(tenant.id)
        add_stand_in(tenant.id, "ft:stand-in:shop:k3v9x2aw")
        submit(tenant.id, [{}], model="ft:stand-in:shop:k3v9x2aw")
        finish(take())

        assert json.loads(take_due()[0].body)["type"] == "job.completed"

    def test_only_those_are_told_who_want_it(self, tenant: Tenant) -> None:
        everything, failures = register(tenant.id), register(tenant.id, "job.failed")
        register(add_other_tenant())
        named, unnamed = register(tenant.id, "job.failed"), failures
        execute(f"UPDATE webhooks SET events = '{{}}' WHERE id = '{named.id}'")
        submit(tenant.id, [{}], webhook_id=named.id)
        finish(take())

        told = {due.webhook_id for due in take_due()}

        assert told == {everything.id, named.id}
        assert unnamed.id not in told

    def test_a_job_that_ends_again_after_a_retry_is_another_event(self, tenant: Tenant) -> None:
        webhook = register(tenant.id)
        job = submit(tenant.id, [{}])
        with transaction() as session:
            jobs.cancel(session, tenant.id, job.id)
        with transaction() as session:
            retries.retry(session, tenant.id, job.id)
        finish(take())

        assert len({delivery.event_id for delivery in of(webhook)}) == 2

    def test_nothing_is_kept_where_nobody_listens(self, tenant: Tenant) -> None:
        submit(tenant.id, [{}])
        finish(take())

        assert take_due() == []


class TestSigned:
    def due(self, tenant: Tenant) -> tuple[Webhook, Due]:
        webhook = register(tenant.id)
        submit(tenant.id, [{}])
        finish(take())
        return webhook, take_due()[0]

    def test_the_official_sdk_accepts_it(self, tenant: Tenant) -> None:
        webhook, due = self.due(tenant)

        event = unwrap(due, webhook.secret)

        assert (event.id, event.type) == (due.event_id, "job.completed")

    def test_another_secret_or_another_body_is_refused_by_it(self, tenant: Tenant) -> None:
        webhook, due = self.due(tenant)

        with pytest.raises(InvalidWebhookSignatureError):
            unwrap(due, register(tenant.id).secret)
        headers = webhooks.signed_headers(due.event_id, due.body, due.secret, None)
        with OpenAI(api_key="unused") as client, pytest.raises(InvalidWebhookSignatureError):
            client.webhooks.unwrap(due.body + " ", headers, secret=webhook.secret)

    def test_both_secrets_sign_while_one_takes_over(self, tenant: Tenant) -> None:
        webhook = register(tenant.id)
        old = webhook.secret
        with transaction() as session:
            webhook = webhooks.get(session, tenant.id, webhook.id)
            webhooks.rotate(session, webhook)
        submit(tenant.id, [{}])
        finish(take())

        (due,) = take_due()
        assert unwrap(due, old).id == unwrap(due, webhook.secret).id

        execute("UPDATE webhooks SET old_secret_until = now()")
        let_time_pass()
        (due,) = take_due()
        assert unwrap(due, webhook.secret)
        with pytest.raises(InvalidWebhookSignatureError):
            unwrap(due, old)


class TestSentAgain:
    @pytest.fixture
    def webhook(self, tenant: Tenant) -> Webhook:
        webhook = register(tenant.id)
        submit(tenant.id, [{}])
        finish(take())
        return webhook

    def test_a_delivery_that_is_taken_is_over(self, webhook: Webhook) -> None:
        report(take_due()[0], 204)
        let_time_pass()

        assert take_due() == []
        (delivery,) = of(webhook)
        assert (delivery.state, delivery.log[0]["status"]) == ("delivered", 204)
        assert delivery.delivered_at is not None

    @pytest.mark.parametrize("status", [302, 404, 500, None])
    def test_any_other_answer_or_none_is_tried_again_later(
        self, webhook: Webhook, status: int | None
    ) -> None:
        first = take_due()[0]
        report(first, status, "told")
        assert take_due() == [], "it pauses"

        let_time_pass()
        (again,) = take_due()

        assert (again.event_id, again.attempt) == (first.event_id, 2)
        assert of(webhook)[0].log == [
            {"at": of(webhook)[0].log[0]["at"], "status": status, "told": "told"}
        ]

    def test_it_goes_on_for_more_than_a_day_and_then_ends(self, webhook: Webhook) -> None:
        assert sum(PAUSES_S) > 24 * 3600
        for _ in range(len(PAUSES_S) + 1):
            report(take_due()[0], 500)
            let_time_pass()

        assert take_due() == []
        assert of(webhook)[0].state == "failed"

    def test_pauses_differ_so_that_crowds_disperse(self, webhook: Webhook) -> None:
        pauses = {deliveries._jittered(3600) for _ in range(20)}

        assert len(pauses) == 20
        assert all(0.8 * 3600 <= pause <= 1.2 * 3600 for pause in pauses)

    def test_a_receiver_that_is_gone_is_called_no_more(
        self, tenant: Tenant, webhook: Webhook
    ) -> None:
        report(take_due()[0], 410)
        submit(tenant.id, [{}])
        finish(take())

        assert [delivery.state for delivery in of(webhook)] == ["failed"]
        with transaction() as session:
            found = webhooks.get(session, tenant.id, webhook.id)
            assert found.disabled_reason == "It answered 410: gone."
            webhooks.enable(found)
        submit(tenant.id, [{}])
        finish(take())
        assert len(take_due()) == 1

    def test_what_a_process_took_and_never_reported_is_taken_again(self, webhook: Webhook) -> None:
        lost = take_due()[0]
        let_time_pass()
        again = take_due()[0]
        assert again.event_id == lost.event_id

        report(lost, 500)
        report(again, 200)

        assert of(webhook)[0].state == "delivered", "the late report changed nothing"

    def test_a_replay_carries_the_same_id(self, webhook: Webhook) -> None:
        first = take_due()[0]
        report(first, 200)
        with transaction() as session:
            delivery, event = deliveries.replay(session, webhook, first.id)

        (again,) = take_due()
        assert (again.event_id, again.body) == (first.event_id, first.body)
        assert (delivery.state, event.id) == ("pending", first.event_id)

    def test_one_of_each_webhook_is_on_its_way_at_a_time(
        self, tenant: Tenant, webhook: Webhook
    ) -> None:
        other = register(tenant.id)
        for _ in range(3):
            submit(tenant.id, [{}])
            finish(take())

        assert sorted(due.webhook_id for due in take_due()) == sorted([webhook.id, other.id])
        assert {due.webhook_id for due in take_due(busy=(webhook.id,))} == {other.id}


@pytest.mark.parametrize(
    "url", ["http://hooks.example.com", "https://127.0.0.1", "https://2852039166/latest", "ftp://x"]
)
def test_an_address_that_may_not_be_called_is_refused(tenant: Tenant, url: str) -> None:
    with transaction() as session, pytest.raises(Invalid) as caught:
        webhooks.create(session, tenant.id, url, ["*"])
    assert caught.value.param == "url"
