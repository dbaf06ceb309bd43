"""The first page: lanes, what runs, workers, what waits for review."""

from typing import Any

from flask import Blueprint, render_template
from flask_security import current_user

from shared.db import reading
from shared.services import jobs, looks, reviews, workers
from shared.services.pages import Cursor

_RECENT = 8


def add_to(pages: Blueprint) -> None:
    pages.add_url_rule("/", "overview", show)
    pages.add_url_rule("/overview/live", "overview_live", live)


def show() -> str:
    return render_template("dashboard/overview.html", **_found())


def live() -> str:
    """What changes on the page, for its script to put in place."""
    return render_template("dashboard/_overview.html", **_found())


def _found() -> dict[str, Any]:
    tenant_id = current_user.tenant_id
    with reading() as session:
        recent = jobs.list_jobs(session, tenant_id, Cursor(limit=_RECENT), jobs.Filter()).rows
        return {
            "lanes": workers.lane_loads(session, tenant_id),
            "workers": workers.alive(session),
            "jobs": [(job, looks.progress(job)) for job in recent],
            "waiting": reviews.waiting(session, tenant_id),
        }
