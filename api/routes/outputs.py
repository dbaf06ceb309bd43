"""Outputs: lists, one, and its content."""

from typing import Any, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from api import links
from api.auth import caller, needs, public
from api.contents import answers, send
from api.pagination import ItemId, ListAnswer, ListQuery, OutputId, PeriodQuery, answer_list
from api.times import seconds
from shared import wall
from shared.db import reading
from shared.ids import item_id, item_number
from shared.services import outputs
from shared.services.pages import Page
from shared.states import OutputState, Scope
from shared.tables.job import Item
from shared.tables.output import Output

blueprint = APIBlueprint(
    "outputs",
    __name__,
    url_prefix="/api/v1/outputs",
    abp_tags=[Tag(name="outputs", description="What was generated, with how it came about.")],
    abp_security=[{"key": []}],
)


class OutputAnswer(BaseModel):
    """One generated file or text, with how it came about."""

    id: str
    object: Literal["output"] = "output"
    job: str
    item: str
    custom_id: str | None
    index: int
    media_type: str
    bytes: int
    sha256: str
    state: OutputState
    scores: dict[str, Any]
    facts: dict[str, Any]
    model: str
    seed: int = Field(description="With n = 1 and the other parameters it gives this output alone.")
    params: dict[str, Any]
    provenance: dict[str, Any]
    created_at: int


def show_output(output: Output, item: Item) -> OutputAnswer:
    """An output as its answer."""
    return OutputAnswer(
        id=output.id,
        job=output.job_id,
        item=item_id(output.item_id),
        custom_id=item.custom_id,
        index=output.index,
        media_type=output.media_type,
        bytes=output.bytes,
        sha256=output.sha256,
        state=OutputState(output.state),
        scores=output.scores,
        facts=output.facts,
        model=output.provenance["model"],
        seed=output.seed,
        params=item.params,
        provenance=output.provenance,
        created_at=seconds(output.created_at),
    )


def show_outputs(session: Session, found: Page[Output]) -> Response:
    """A page of outputs."""
    items = outputs.items_of(session, list(found.rows))
    return answer_list(found, lambda output: show_output(output, items[output.item_id]))


class OutputPath(BaseModel):
    """Which output."""

    id: str


class _Query(ListQuery[OutputId]):
    """By what outputs are found, be they of one job or of many."""

    item: ItemId | None = None
    media_type: outputs.MediaType | None = None
    label: str | None = Field(
        None,
        min_length=1,
        max_length=outputs.MAX_LABEL,
        description="The label that its facts name; not found by one are mixes of several.",
    )

    def item_number(self) -> int | None:
        """The number of the item."""
        return None if self.item is None else item_number(self.item)


class JobOutputsQuery(_Query):
    """Which of a job's outputs."""

    custom_id: str | None = Field(None, description="The client's own id of their item.")


class OutputsQuery(PeriodQuery[OutputId], _Query):
    """Which outputs."""

    job: str | None = None
    state: OutputState | None = None
    model: str | None = Field(None, description="A model's name, or `name@version`.")


@blueprint.get("", responses={200: ListAnswer[OutputAnswer]}, summary="List outputs")
@needs(Scope.READ)
def list_outputs(query: OutputsQuery) -> Response:
    only = outputs.Filter(
        query.job,
        query.state,
        query.model,
        query.period(),
        query.media_type,
        query.label,
        query.item_number(),
    )
    with reading() as session:
        found = outputs.list_outputs(session, caller().tenant_id, query.cursor(), only)
        return show_outputs(session, found)


@blueprint.get("/<string:id>", responses={200: OutputAnswer}, summary="Look at an output")
@needs(Scope.READ)
def get_output(path: OutputPath) -> Response:
    with reading() as session:
        output = outputs.get(session, caller().tenant_id, path.id)
        item = outputs.items_of(session, [output])[output.item_id]
        return jsonify(show_output(output, item).model_dump(mode="json"))


@blueprint.get(
    "/<string:id>/content",
    responses=answers(*outputs.EXTENSIONS),
    summary="Fetch an output's bytes",
)
@needs(Scope.READ)
def get_output_content(path: OutputPath) -> AnyResponse:
    return _content(caller().tenant_id, path.id)


class LinkPath(OutputPath):
    """A link to an output."""

    link: str


@blueprint.get(
    "/<string:id>/content/<string:link>",
    responses=answers(*outputs.EXTENSIONS),
    security=[],
    summary="Fetch an output's bytes by a link, without a key",
)
@public
def follow_link(path: LinkPath) -> AnyResponse:
    tenant_id = links.tenant_of(path.id, path.link)
    wall.ask_for(tenant_id)
    return _content(tenant_id, path.id)


def _content(tenant_id: str, id_: str) -> AnyResponse:
    with reading() as session:
        output = outputs.get(session, tenant_id, id_)
    return send(output.key, outputs.filename(output), output.media_type)
