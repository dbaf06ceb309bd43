"""Webhooks: where this tenant is called back, what was sent there, and sending it again."""

from flask import Blueprint, abort, redirect, render_template, url_for
from flask_security import current_user
from werkzeug.wrappers import Response as AnyResponse

from shared.db import reading, transaction
from shared.services import deliveries, webhooks
from shared.services.pages import Cursor
from shared.states import Role

_DELIVERIES = 50
_WEBHOOKS = 50


def add_to(pages: Blueprint) -> None:
    pages.add_url_rule("/webhooks", "webhooks", list_)
    pages.add_url_rule("/webhooks/<id_>", "webhook", show)
    replays = "/webhooks/<id_>/deliveries/<int:delivery_id>/replay"
    pages.add_url_rule(replays, "replay_delivery", replay, methods=["POST"])


def list_() -> str:
    with reading() as session:
        found = webhooks.list_webhooks(session, current_user.tenant_id, Cursor(limit=_WEBHOOKS))
    return render_template("dashboard/webhooks.html", webhooks=found.rows)


def show(id_: str) -> str:
    with reading() as session:
        webhook = webhooks.get(session, current_user.tenant_id, id_)
        sent = deliveries.list_deliveries(session, webhook, Cursor(limit=_DELIVERIES))
    return render_template(
        "dashboard/webhook.html",
        webhook=webhook,
        deliveries=sent.rows,
        may_replay=current_user.role == Role.ADMIN,
    )


def replay(id_: str, delivery_id: int) -> AnyResponse:
    if current_user.role != Role.ADMIN:
        abort(403, "Only an admin may replay deliveries.")
    with transaction() as session:
        webhook = webhooks.get(session, current_user.tenant_id, id_)
        deliveries.replay(session, webhook, delivery_id)
    return redirect(url_for("pages.webhook", id_=id_))
