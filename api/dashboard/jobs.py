"""Jobs: the list with its filters, and one job with progress, curves, sheets and outputs."""

from itertools import islice
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask_security import current_user
from werkzeug.wrappers import Response as AnyResponse

from api.contents import send
from api.dashboard.shown import HEIGHT, WIDTH, curves
from shared.db import reading, transaction
from shared.queues import hint
from shared.services import items, jobs, looks, outputs
from shared.services.events import event_of, events_of
from shared.services.pages import Cursor
from shared.states import JobKind, JobState, Lane, Role
from shared.tables.job import Event, Job

_PAGE = 25
_OUTPUTS = 60

CHANGES = {"cancel": jobs.cancel, "pause": jobs.pause, "resume": jobs.resume}
"""What an admin may do to a job that has not ended."""


def add_to(pages: Blueprint) -> None:
    pages.add_url_rule("/jobs", "jobs", list_)
    pages.add_url_rule("/jobs/<id_>", "job", show)
    pages.add_url_rule("/jobs/<id_>/live", "job_live", live)
    for what in CHANGES:
        pages.add_url_rule(
            f"/jobs/<id_>/{what}", f"{what}_job", change, defaults={"what": what}, methods=["POST"]
        )
    pages.add_url_rule("/jobs/<id_>/sheets/<int:event_id>", "sheet", sheet)
    pages.add_url_rule("/outputs/<id_>/content", "content", content)


def list_() -> str:
    kind, state = request.args.get("kind") or None, request.args.get("state") or None
    only = jobs.Filter(
        JobKind(kind) if kind in set(JobKind) else None,
        JobState(state) if state in set(JobState) else None,
        request.args.get("model") or None,
    )
    cursor = Cursor(after=request.args.get("after"), limit=_PAGE)
    with reading() as session:
        found = jobs.list_jobs(session, current_user.tenant_id, cursor, only)
    rows = [(job, looks.progress(job)) for job in found.rows]
    return render_template(
        "dashboard/jobs.html",
        rows=rows,
        only=only,
        has_more=found.has_more,
        kinds=list(JobKind),
        states=list(JobState),
    )


def show(id_: str) -> str:
    return render_template("dashboard/job.html", **_found(id_))


def live(id_: str) -> str:
    """What changes on a job's page, for its script to put in place."""
    return render_template("dashboard/_job.html", **_found(id_))


def _found(id_: str) -> dict[str, Any]:
    tenant_id = current_user.tenant_id
    with reading() as session:
        job = jobs.get(session, tenant_id, id_)
        position = looks.position(session, job)
        told = events_of(
            session, id_, ["progress", "metrics", "sheet", "warning", "model", "state"]
        )
        made = outputs.list_outputs(
            session, tenant_id, Cursor(limit=_OUTPUTS, order="asc"), outputs.Filter(job_id=id_)
        )
        undone = list(islice(items.undone_items(session, job, 10), 10)) if job.failed else []
    losses = [(event.data["step"], event.data["losses"]) for event in _of(told, "progress")]
    return {
        "job": job,
        "progress": looks.progress(job),
        "position": position,
        "losses": curves(losses),
        "metrics": curves([_metric_values(event) for event in _of(told, "metrics")]),
        "last_metrics": next(
            (e.data["metrics"] for e in reversed(told) if e.type == "metrics"), {}
        ),
        "sheets": _of(told, "sheet")[-4:],
        "notes": [event for event in told if event.type in {"warning", "model", "state"}],
        "outputs": made,
        "undone": undone,
        "plot": (WIDTH, HEIGHT),
        "may": _choices(job) if current_user.role == Role.ADMIN else [],
    }


def _of(events: Any, type_: str) -> list[Event]:
    return [event for event in events if event.type == type_]


def _metric_values(event: Event) -> tuple[float, dict[str, float]]:
    values = {name: metric["value"] for name, metric in event.data["metrics"].items()}
    return event.data.get("step", 0), values


def _choices(job: Job) -> list[str]:
    if job.state == JobState.PAUSED:
        return ["resume", "cancel"]
    if job.state in {JobState.QUEUED, JobState.RUNNING}:
        return ["pause", "cancel"]
    return ["cancel"] if job.state == JobState.VALIDATING else []


def change(id_: str, what: str) -> AnyResponse:
    if current_user.role != Role.ADMIN:
        abort(403, f"Only an admin may {what} jobs.")
    with transaction() as session:
        job = CHANGES[what](session, current_user.tenant_id, id_)
    if what == "resume":
        hint(Lane(job.lane))
    if job.state == JobState.FINALIZING:
        hint(Lane.LIGHT)
    return redirect(url_for("pages.job", id_=id_))


def sheet(id_: str, event_id: int) -> AnyResponse:
    with reading() as session:
        jobs.get(session, current_user.tenant_id, id_)
        event = event_of(session, id_, event_id)
    if event.type != "sheet":
        abort(404)
    name = f"{id_}-{event.data['step']}"
    return send(event.data["key"], name, event.data["media_type"], inline=True)


def content(id_: str) -> AnyResponse:
    with reading() as session:
        output = outputs.get(session, current_user.tenant_id, id_)
    return send(output.key, outputs.filename(output), output.media_type, inline=True)
