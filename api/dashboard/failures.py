"""Failures: why items failed, with the worker's last words, and retrying all of one reason."""

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask_security import current_user
from werkzeug.wrappers import Response as AnyResponse

from shared.db import reading, transaction
from shared.ids import item_id
from shared.queues import hint
from shared.services import failures, retries
from shared.services.pages import Cursor
from shared.states import Lane, Role

_LATEST = 20


def add_to(pages: Blueprint) -> None:
    pages.add_url_rule("/failures", "failures", show)
    pages.add_url_rule("/failures/retry", "retry_failures", retry, methods=["POST"])


def show() -> str:
    reason = request.args.get("reason") or None
    with reading() as session:
        only = failures.Filter(reason=reason)
        latest = failures.list_failures(
            session, current_user.tenant_id, Cursor(limit=_LATEST), only
        ).rows
        reasons = failures.reasons(session, current_user.tenant_id)
    return render_template(
        "dashboard/failures.html",
        reasons=reasons,
        latest=[(failure, item_id(failure.item_id)) for failure in latest],
        reason=reason,
        may_retry=current_user.role == Role.ADMIN,
    )


def retry() -> AnyResponse:
    if current_user.role != Role.ADMIN:
        abort(403, "Only an admin may retry what failed.")
    only = failures.Filter(reason=request.form["reason"])
    with transaction() as session:
        retried = retries.retry_failed(session, current_user.tenant_id, only)
    for lane in {Lane(job.lane) for job in retried.jobs}:
        hint(lane)
    return redirect(url_for("pages.failures"))
