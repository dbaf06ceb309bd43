"""Submissions: the body of `POST /api/v1/jobs`, and the service that accepts each kind of job."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, ValidationError
from sqlalchemy.orm import Session

from api.auth import caller, require
from api.times import LAST_SECOND
from shared.db import now
from shared.errors import Invalid
from shared.family import Family
from shared.services import lines, submissions, webhooks
from shared.services.invalid import invalid
from shared.services.items import Fault, Items, Wanted
from shared.services.names import check_name
from shared.states import JobKind, Scope
from shared.tables.job import Job

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16, description="Up to 16 pairs of the client's own."),
]


class ItemBody(BaseModel):
    """One item of a generation job."""

    model_config = ConfigDict(extra="forbid", strict=True)

    custom_id: str | None = Field(
        None, max_length=255, description="The client's own, unique in the job."
    )
    params: dict[str, Any] = Field(description="The family's parameters; see `/api/v1/families`.")


class JobBody(BaseModel):
    """A job to accept."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "kind": "generation",
                    "model": "digits",
                    "items": [{"custom_id": "a", "params": {"label": "7", "n": 4, "seed": 1}}],
                    "metadata": {"order": "4711"},
                },
                {
                    "kind": "training",
                    "family": "conditional_gan",
                    "dataset": "digits",
                    "model": "digits",
                    "params": {"max_seconds": 120},
                },
                {"kind": "evaluation", "model": "digits", "dataset": "digits"},
            ]
        },
    )

    kind: Literal["generation", "embedding", "training", "evaluation"]
    model: str = Field(description="The model to run or evaluate, or the name to train.")
    # Looked at one by one as they are accepted: 100,000 models at once would take 100 MB.
    items: list[SkipValidation[ItemBody]] | None = Field(
        None, description="For generation and embedding: 1 to 100,000 items."
    )
    input_file: str | None = Field(
        None, description="For generation and embedding: a JSONL file of items instead."
    )
    family: str | None = Field(
        None, description="For training: the family, if not given by `base`."
    )
    base: str | None = Field(None, description="For training: the model to start from.")
    dataset: str | None = Field(None, description="For training and evaluation.")
    params: dict[str, Any] | None = Field(
        None, description="For training: the family's parameters."
    )
    priority: int = Field(
        0,
        ge=-100,
        le=100,
        description="Higher runs sooner, within the tenant: each point overtakes what was "
        "submitted up to a minute before.",
    )
    deadline: int | None = Field(
        None,
        gt=0,
        le=LAST_SECOND,
        description="Seconds since 1970; what has not started by then expires.",
    )
    webhook: str | None = Field(
        None, description="The id of a webhook that is told of its end, whatever else it wants."
    )
    metadata: Metadata = {}
    dry_run: bool = Field(
        False,
        description="Check everything and answer with an estimate (200) instead; nothing is made.",
    )


def accept(session: Session, body: JobBody) -> Job:
    """Accept a job of any kind, if the caller may submit it.

    Raises Invalid, NotFound, Conflict or Forbidden.
    """
    return _ACCEPT[body.kind](session, body)


def _generation(session: Session, body: JobBody) -> Job:
    require(Scope.GENERATE)
    _refuse(body, "family", "base", "dataset", "params")
    if (body.items is None) == (body.input_file is None):
        raise Invalid("items: give either items or input_file", param="items")
    if body.input_file is None:
        return _with_items(session, body, _Items(body.items or []))
    if body.dry_run:
        with lines.items_of_file(caller().tenant_id, body.input_file) as items:
            return _with_items(session, body, items)
    return submissions.create_generation_from_file(
        session, _common(session, body), body.model, body.input_file, JobKind(body.kind)
    )


def _with_items(session: Session, body: JobBody, items: Items) -> Job:
    return submissions.create_generation(
        session, _common(session, body), body.model, items, JobKind(body.kind)
    )


class _Items:
    """The items of a body, each read when it is asked for, and then let go."""

    def __init__(self, raw: list[Any]):
        self._raw = raw

    def __len__(self) -> int:
        return len(self._raw)

    def __iter__(self) -> Iterator[Wanted | Fault]:
        for position, each in enumerate(self._raw):
            self._raw[position] = None
            try:
                item = ItemBody.model_validate(each)
            except ValidationError as error:
                yield Fault(invalid(error, f"items[{position}]"))
            else:
                yield Wanted(item.params, item.custom_id)


def _training(session: Session, body: JobBody) -> Job:
    require(Scope.TRAIN)
    _refuse(body, "items", "input_file")
    # What a fine-tuning names is that one training's alone.
    check_name(body.model, "model")
    new = submissions.NewTraining(
        body.family.removeprefix(Family.PREFIX) if body.family is not None else None,
        _required(body, "dataset"),
        body.model,
        body.params or {},
        body.base,
    )
    return submissions.create_training(session, _common(session, body), new)


def _evaluation(session: Session, body: JobBody) -> Job:
    require(Scope.TRAIN)
    _refuse(body, "items", "input_file", "family", "base", "params")
    return submissions.create_evaluation(
        session, _common(session, body), body.model, _required(body, "dataset")
    )


_ACCEPT = {
    "generation": _generation,
    "embedding": _generation,
    "training": _training,
    "evaluation": _evaluation,
}


def _common(session: Session, body: JobBody) -> submissions.Common:
    tenant_id = caller().tenant_id
    if body.webhook is not None:
        webhooks.get(session, tenant_id, body.webhook, param="webhook")
    return submissions.Common(
        tenant_id,
        body.priority,
        _deadline(session, body),
        body.metadata,
        body.webhook,
        caller().key_id,
    )


def _deadline(session: Session, body: JobBody) -> datetime | None:
    if body.deadline is None:
        return None
    deadline = datetime.fromtimestamp(body.deadline, UTC)
    if deadline <= now(session):
        raise Invalid("deadline: it has passed; give seconds since 1970", param="deadline")
    return deadline


def _required(body: JobBody, name: str) -> str:
    value = getattr(body, name)
    if value is None:
        raise Invalid(f"{name}: a {body.kind} job needs it", param=name)
    return str(value)


def _refuse(body: JobBody, *names: str) -> None:
    for name in names:
        if getattr(body, name) is not None:
            raise Invalid(f"{name}: a {body.kind} job does not take it", param=name)
