"""Estimates: what `POST /api/v1/jobs` answers to a dry run."""

from typing import Literal

from flask import Response, jsonify
from pydantic import BaseModel, Field

from api.routes.submissions import JobBody, accept
from shared.db import rehearsal
from shared.services import admission, looks
from shared.states import JobKind


class EstimateAnswer(BaseModel):
    """What a job would take; nothing was made."""

    object: Literal["job.estimate"] = "job.estimate"
    kind: JobKind
    model: str
    items: int
    compute_seconds: float | None = Field(
        description="From what was measured; for a training the most that it may take; null when "
        "nothing like it was measured."
    )
    basis: int = Field(description="How many measured items it rests on.")
    position: int | None = Field(description="About how many items would run first.")
    warnings: list[str]


def rehearse(body: JobBody) -> Response:
    """Accept a job and undo it: what is refused here is what would be refused, and as it would."""
    with rehearsal() as session:
        job = accept(session, body)
        told = admission.estimate(session, job)
        answer = EstimateAnswer(
            kind=JobKind(job.kind),
            model=body.model,
            items=job.total,
            compute_seconds=(
                None if told.compute_seconds is None else round(told.compute_seconds, 3)
            ),
            basis=told.basis,
            position=looks.position(session, job),
            warnings=[*job.warnings, *told.warnings],
        )
    return jsonify(answer.model_dump(mode="json"))
