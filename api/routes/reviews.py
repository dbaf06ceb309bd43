"""Reviews: what waits for a verdict, the verdicts given, and giving one."""

from typing import Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api.auth import caller, needs
from api.creates import create_once, takes_key
from api.pagination import ListAnswer, ListQuery, OutputId, PeriodQuery, VerdictId, answer_list
from api.requests import require_json
from api.routes.outputs import OutputAnswer, show_outputs
from api.times import seconds
from shared.db import reading
from shared.errors import Invalid
from shared.services import outputs, reviews
from shared.states import Decision, OutputState, Scope
from shared.tables.output import Verdict

blueprint = APIBlueprint(
    "reviews",
    __name__,
    url_prefix="/api/v1/reviews",
    abp_tags=[
        Tag(
            name="reviews",
            description="Verdicts on outputs: appended, never changed. The dashboard's *Review* "
            "gives the same ones.",
        )
    ],
    abp_security=[{"key": []}],
)


class ReviewBody(BaseModel):
    """A verdict to give."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"output": "output_01k9z3n6vq0c8t2w5h7m4r1xja", "decision": "approve", "rating": 5},
                {
                    "output": "output_01k9z3n6vq0c8t2w5h7m4r1xjb",
                    "decision": "reject",
                    "tags": ["wrong label"],
                    "note": "reads as a 1",
                },
            ]
        },
    )

    output: str = Field(description="The id of an output that waits for a verdict.")
    decision: Decision = Field(
        strict=False,
        description="`withdraw` takes back this key's own last verdict on the output, which then "
        "waits again.",
    )
    rating: int | None = Field(None, ge=1, le=5, description="Stars.")
    tags: list[reviews.Tag] = Field([], max_length=20, description="What is wrong.")
    note: str = Field("", max_length=reviews.MAX_NOTE)

    def refuse_surplus(self) -> None:
        """Raises Invalid where a verdict that is taken back is to say more."""
        given = [name for name in ("rating", "tags", "note") if getattr(self, name)]
        if self.decision == Decision.WITHDRAW and given:
            raise Invalid(f"{given[0]}: says nothing of a verdict taken back", param=given[0])


class ReviewAnswer(BaseModel):
    """One verdict on one output."""

    id: str
    object: Literal["review"] = "review"
    output: str
    decision: Decision
    rating: int | None
    tags: list[str]
    note: str
    user: str | None = Field(description="The person who gave it; null: a key did.")
    key: str | None = Field(description="The key that gave it; null: a person did.")
    created_at: int


def show_review(verdict: Verdict) -> ReviewAnswer:
    """A verdict as its answer."""
    return ReviewAnswer(
        id=verdict.id,
        output=verdict.output_id,
        decision=Decision(verdict.decision),
        rating=verdict.rating,
        tags=verdict.tags,
        note=verdict.note,
        user=verdict.user_id,
        key=verdict.key_id,
        created_at=seconds(verdict.created_at),
    )


@blueprint.post("", responses={201: ReviewAnswer}, summary="Give a verdict on an output")
@needs(Scope.TRAIN)
@takes_key
def create_review(body: ReviewBody) -> Response:
    require_json()
    body.refuse_surplus()
    reviewer = reviews.Reviewer(caller().tenant_id, key_id=caller().key_id)

    def create(session: Session) -> tuple[ReviewAnswer, None]:
        if body.decision == Decision.WITHDRAW:
            verdict = reviews.withdraw(session, reviewer, body.output)
        else:
            new = reviews.NewVerdict(body.decision, body.rating, body.tags, body.note)
            verdict = reviews.judge(session, reviewer, body.output, new)
        session.refresh(verdict)
        return show_review(verdict), None

    return create_once(201, create)


class ReviewsQuery(PeriodQuery[VerdictId]):
    """Which verdicts."""

    output: str | None = None
    decision: Decision | None = None
    model: str | None = Field(None, description="A model's name, or `name@version`.")


@blueprint.get("", responses={200: ListAnswer[ReviewAnswer]}, summary="List verdicts")
@needs(Scope.READ)
def list_reviews(query: ReviewsQuery) -> Response:
    only = reviews.Filter(query.output, query.decision, query.model, query.period())
    with reading() as session:
        found = reviews.list_verdicts(session, caller().tenant_id, query.cursor(), only)
        return answer_list(found, show_review)


class WaitingQuery(ListQuery[OutputId]):
    """Which of the outputs that wait."""

    order: Literal["asc", "desc"] = Field("asc", description="By time of making, oldest first.")
    job: str | None = None
    model: str | None = Field(None, description="A model's name, or `name@version`.")
    media_type: outputs.MediaType | None = None


@blueprint.get(
    "/waiting",
    responses={200: ListAnswer[OutputAnswer]},
    summary="List the outputs that wait for a verdict",
)
@needs(Scope.READ)
def list_waiting(query: WaitingQuery) -> Response:
    only = outputs.Filter(query.job, OutputState.RELEASED, query.model, media_type=query.media_type)
    with reading() as session:
        found = outputs.list_outputs(session, caller().tenant_id, query.cursor(), only)
        return show_outputs(session, found)


class ReviewPath(BaseModel):
    """Which verdict."""

    id: str


@blueprint.get("/<string:id>", responses={200: ReviewAnswer}, summary="Look at a verdict")
@needs(Scope.READ)
def get_review(path: ReviewPath) -> Response:
    with reading() as session:
        verdict = reviews.get(session, caller().tenant_id, path.id)
    return jsonify(show_review(verdict).model_dump(mode="json"))
