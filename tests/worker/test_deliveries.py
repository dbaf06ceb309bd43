"""Deliveries as a sweeper sends them, to real receivers."""

from pathlib import Path
from threading import Event

import pytest
from openai import OpenAI

from shared.db import transaction
from shared.services import deliveries, webhooks
from shared.services.pages import Cursor
from shared.tables.tenant import Tenant
from shared.tables.webhook import Delivery, Webhook
from tests.ledger import finish, submit, take
from tests.receiver import HERE, Receiver, answers, is_silent, receiving
from tests.settings import forget_settings
from tests.threads import beside
from tests.waiting import until
from worker.deliveries import Sender

pytestmark = pytest.mark.usefixtures("allowed", "stand_in")


@pytest.fixture
def allowed(installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Receivers of this test may be called."""
    monkeypatch.setenv("ATELIER_EGRESS_ALLOW", HERE)
    forget_settings()


def register(tenant: Tenant, receiver: Receiver) -> Webhook:
    with transaction() as session:
        url = f"http://127.0.0.1:{receiver.port}/hook"
        return webhooks.create(session, tenant.id, url, ["*"])


def end_a_job(tenant: Tenant) -> None:
    submit(tenant.id, [{}])
    finish(take())


def send_due() -> None:
    sender = Sender()
    for sent in sender.send_due():
        sent.result()


def of(webhook: Webhook) -> list[Delivery]:
    with transaction() as session:
        found = deliveries.list_deliveries(session, webhook, Cursor(order="asc"))
        return [delivery for delivery, _ in found.rows]


def test_a_receiver_is_told_in_a_way_that_the_official_sdk_accepts(tenant: Tenant) -> None:
    with receiving(answers(b"thanks")) as receiver:
        webhook = register(tenant, receiver)
        end_a_job(tenant)
        send_due()

    (delivery,) = of(webhook)
    assert (delivery.state, delivery.log[0]["told"]) == ("delivered", "thanks")
    with OpenAI(api_key="unused") as client:
        event = client.webhooks.unwrap(
            receiver.bodies[0], receiver.headers[0], secret=webhook.secret
        )
    assert event.id == delivery.event_id == receiver.headers[0]["webhook-id"]


def test_a_redirect_is_a_failure_and_leads_nowhere(tenant: Tenant) -> None:
    with (
        receiving(answers()) as elsewhere,
        receiving(
            answers(b"", "302 Found", f"Location: http://127.0.0.1:{elsewhere.port}/")
        ) as receiver,
    ):
        webhook = register(tenant, receiver)
        end_a_job(tenant)
        send_due()

    (delivery,) = of(webhook)
    assert (delivery.state, delivery.log[0]["status"]) == ("pending", 302)
    assert elsewhere.connections == 0


def test_an_address_that_is_allowed_no_more_is_not_called(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(answers()) as receiver:
        webhook = register(tenant, receiver)
        end_a_job(tenant)
        monkeypatch.setenv("ATELIER_EGRESS_ALLOW", "")
        forget_settings()
        send_due()

    (delivery,) = of(webhook)
    assert (delivery.state, delivery.log[0]["status"]) == ("pending", None)
    assert "ATELIER_EGRESS_ALLOW" in delivery.log[0]["told"]
    assert receiver.connections == 0


def test_one_who_does_not_answer_holds_up_nobody_else(tenant: Tenant) -> None:
    ended = Event()
    with receiving(is_silent) as silent, receiving(answers()) as quick:
        slow, fast = register(tenant, silent), register(tenant, quick)
        for _ in range(3):
            end_a_job(tenant)
        with beside(lambda: Sender().run(ended), lambda: (silent.over.set(), ended.set())):
            until(lambda: [delivery.state for delivery in of(fast)] == ["delivered"] * 3)
            assert {delivery.state for delivery in of(slow)} == {"pending"}
