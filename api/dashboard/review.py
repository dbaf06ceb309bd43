"""Review: one output after the other, approved or rejected by people; the last verdict can be
undone.
"""

import re
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask import session as browser
from flask_security import current_user
from werkzeug.wrappers import Response as AnyResponse

from shared.db import reading, transaction
from shared.errors import Conflict, Invalid
from shared.services import outputs, reviews
from shared.states import Decision
from shared.storage import storage
from shared.tables.output import Output

_LAST = "last_verdict_on"
_MAX_TEXT_BYTES = 64 * 1024


def add_to(pages: Blueprint) -> None:
    pages.add_url_rule("/review", "review", show)
    pages.add_url_rule("/review/<id_>", "judge", judge, methods=["POST"])
    pages.add_url_rule("/review/undo", "undo", undo, methods=["POST"])


def show() -> str:
    model, after = request.args.get("model") or None, request.args.get("after") or None
    tenant_id = current_user.tenant_id
    with reading() as session:
        wanted = request.args.get("output")
        output = (
            outputs.get(session, tenant_id, wanted)
            if wanted
            else reviews.next_output(session, tenant_id, model, after)
        )
        waiting = reviews.waiting(session, tenant_id)
        item = outputs.items_of(session, [output])[output.item_id] if output else None
        verdicts = reviews.verdicts_on(session, output) if output else []
    return render_template(
        "dashboard/review.html",
        output=output,
        item=item,
        text=_text(output),
        verdicts=verdicts,
        waiting=waiting,
        model=model,
        tags=reviews.TAGS,
        last=browser.get(_LAST),
        fault=request.args.get("fault"),
    )


def _text(output: Output | None) -> str | None:
    if output is None or not output.media_type.startswith("text/"):
        return None
    with storage().open(output.key) as stored:
        return stored.read(_MAX_TEXT_BYTES).decode("utf-8", "replace")


def judge(id_: str) -> AnyResponse:
    form = request.form
    again: dict[str, Any] = {"model": form.get("model") or None}
    try:
        verdict = reviews.NewVerdict(
            _decision(form.get("decision", "")),
            int(form["rating"]) if _DIGIT.fullmatch(form.get("rating", "")) else None,
            form.getlist("tags"),
            form.get("note", "")[: reviews.MAX_NOTE],
        )
        with transaction() as session:
            reviews.judge(session, _reviewer(), id_, verdict)
        browser[_LAST] = id_
    except (Conflict, Invalid) as error:
        again["fault"] = error.message
    return redirect(url_for("pages.review", **again))


def _reviewer() -> reviews.Reviewer:
    return reviews.Reviewer(current_user.tenant_id, user_id=current_user.row.id)


_DIGIT = re.compile("[0-9]")


def _decision(given: str) -> Decision:
    if given not in {Decision.APPROVE, Decision.REJECT}:
        raise Invalid("decision: approve or reject", param="decision")
    return Decision(given)


def undo() -> AnyResponse:
    last = browser.pop(_LAST, None)
    if last is None:
        return redirect(url_for("pages.review", fault="There is nothing to undo."))
    try:
        with transaction() as session:
            reviews.withdraw(session, _reviewer(), last)
    except Conflict as error:
        return redirect(url_for("pages.review", fault=error.message))
    return redirect(url_for("pages.review", output=last))
