"""Models with the cards of their versions."""

from flask import Blueprint, abort, render_template
from flask_security import current_user
from werkzeug.wrappers import Response as AnyResponse

from api.contents import send
from shared.db import reading
from shared.services import models
from shared.services.pages import Cursor

_MOST = 100


def add_to(pages: Blueprint) -> None:
    pages.add_url_rule("/models", "models", list_)
    pages.add_url_rule("/models/<name>", "model", show)
    pages.add_url_rule("/models/<name>/<int:version>/sheet", "model_sheet", sheet)


def list_() -> str:
    with reading() as session:
        found = models.list_models(session, current_user.tenant_id, Cursor(limit=_MOST))
    return render_template("dashboard/models.html", models=found.rows)


def show(name: str) -> str:
    with reading() as session:
        model = models.get(session, current_user.tenant_id, name)
        versions = models.versions_of(session, model)
    return render_template("dashboard/model.html", model=model, versions=versions)


def sheet(name: str, version: int) -> AnyResponse:
    with reading() as session:
        model, found = models.resolve(session, current_user.tenant_id, f"{name}@{version}")
    key = found.card.get("sheet")
    if key is None:
        abort(404, "This version has no sample sheet.")
    image = model.modality == "image"
    media_type = "image/png" if image else "text/plain; charset=utf-8"
    return send(key, f"{name}-{version}", media_type, inline=True)
