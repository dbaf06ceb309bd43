"""Data sets with their preparation reports."""

from flask import Blueprint, abort, render_template
from flask_security import current_user
from werkzeug.wrappers import Response as AnyResponse

from api.contents import send
from shared.db import reading
from shared.services import datasets
from shared.services.pages import Cursor

_MOST = 100


def add_to(pages: Blueprint) -> None:
    pages.add_url_rule("/datasets", "datasets", list_)
    pages.add_url_rule("/datasets/<id_>", "dataset", show)
    pages.add_url_rule("/datasets/<id_>/sheet", "dataset_sheet", sheet)


def list_() -> str:
    with reading() as session:
        found = datasets.list_datasets(session, current_user.tenant_id, Cursor(limit=_MOST))
    return render_template("dashboard/datasets.html", datasets=found.rows)


def show(id_: str) -> str:
    with reading() as session:
        dataset = datasets.get(session, current_user.tenant_id, id_)
    return render_template(
        "dashboard/dataset.html", dataset=dataset, sheet=datasets.sheet_of(dataset)
    )


def sheet(id_: str) -> AnyResponse:
    with reading() as session:
        dataset = datasets.get(session, current_user.tenant_id, id_)
    found = datasets.sheet_of(dataset)
    if found is None:
        abort(404, "This data set has no sample sheet.")
    return send(found.key, found.filename, found.media_type, inline=True)
