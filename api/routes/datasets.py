"""Data sets: prepared from uploaded files or judged outputs, looked at with their reports."""

from collections.abc import Callable
from typing import Any, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from api.auth import caller, needs
from api.contents import answers, send
from api.creates import create_once, takes_key
from api.pagination import DatasetId, ListAnswer, PeriodQuery, answer_list
from api.requests import require_json
from api.times import seconds
from shared.db import reading
from shared.errors import Invalid, NotFound
from shared.preparation import JudgedOutputs
from shared.services import datasets
from shared.states import DatasetState, Lane, Modality, Scope
from shared.storage import BINARY
from shared.tables.dataset import Dataset

blueprint = APIBlueprint(
    "datasets",
    __name__,
    url_prefix="/api/v1/datasets",
    abp_tags=[
        Tag(
            name="datasets",
            description="Files, or outputs that were judged, made ready for training: named, "
            "versioned, never changed.",
        )
    ],
    abp_security=[{"key": []}],
)


class DatasetBody(BaseModel):
    """A data set to prepare."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "name": "digits",
                    "modality": "image",
                    "files": ["file-01k9z3n6vq0c8t2w5h7m4r1xja"],
                    "options": {"size": 28},
                },
                {
                    "name": "approved-digits",
                    "modality": "image",
                    "outputs": {"model": "digits", "verdict": "approved"},
                    "options": {"size": 28},
                },
            ]
        },
    )

    name: str = Field(description="A new name, or one that gets a new version.")
    modality: Modality = Field(strict=False)
    files: list[str] | None = Field(
        None, description="Ids of uploaded files.", min_length=1, max_length=100
    )
    outputs: JudgedOutputs | None = Field(
        None,
        description="Outputs instead: pictures with the labels that they were made for, texts "
        "behind their prompts.",
    )
    options: dict[str, Any] = Field({}, description="How to prepare it, by modality.")

    def create(self, session: Session) -> Dataset:
        """Accept it. Raises Invalid unless it is to be made from one or the other."""
        who, key_id = caller().tenant_id, caller().key_id
        asked = (session, who, self.name, self.modality)
        if self.files is not None and self.outputs is None:
            return datasets.create(*asked, self.files, self.options, key_id)
        if self.outputs is not None and self.files is None:
            return datasets.create_from_outputs(*asked, self.outputs, self.options, key_id)
        raise Invalid("files: name uploaded files, or say which outputs, not both", param="files")


class DatasetAnswer(BaseModel):
    """One version of a data set."""

    id: str
    object: Literal["dataset"] = "dataset"
    name: str
    version: int
    modality: Modality
    state: DatasetState
    job: str | None = Field(description="The ingestion job.")
    hash: str | None
    files: list[str]
    outputs: JudgedOutputs | None = Field(description="Which it is made from; null: from files.")
    options: dict[str, Any]
    report: dict[str, Any] | None = Field(description="What was found, kept and rejected, and why.")
    created_at: int


def show_dataset(dataset: Dataset) -> DatasetAnswer:
    """A data set as its answer."""
    return DatasetAnswer(
        id=dataset.id,
        name=dataset.name,
        version=dataset.version,
        modality=Modality(dataset.modality),
        state=DatasetState(dataset.state),
        job=dataset.job_id,
        hash=dataset.hash,
        files=dataset.files,
        outputs=JudgedOutputs.model_validate(dataset.outputs) if dataset.outputs else None,
        options=dataset.options,
        report=dataset.report,
        created_at=seconds(dataset.created_at),
    )


class DatasetPath(BaseModel):
    """Which data set."""

    id: str


@blueprint.post("", responses={202: DatasetAnswer}, summary="Prepare a data set")
@needs(Scope.TRAIN)
@takes_key
def create_dataset(body: DatasetBody) -> Response:
    require_json()

    def create(session: Session) -> tuple[DatasetAnswer, Lane]:
        dataset = body.create(session)
        session.flush()
        session.refresh(dataset)
        return show_dataset(dataset), Lane.LIGHT

    return create_once(202, create)


class DatasetsQuery(PeriodQuery[DatasetId]):
    """Which data sets."""

    name: str | None = None
    state: DatasetState | None = None
    modality: Modality | None = None


@blueprint.get("", responses={200: ListAnswer[DatasetAnswer]}, summary="List data sets")
@needs(Scope.READ)
def list_datasets(query: DatasetsQuery) -> Response:
    only = datasets.Filter(query.name, query.state, query.modality, query.period())
    with reading() as session:
        found = datasets.list_datasets(session, caller().tenant_id, query.cursor(), only)
        return answer_list(found, show_dataset)


@blueprint.get("/<string:id>", responses={200: DatasetAnswer}, summary="Look at a data set")
@needs(Scope.READ)
def get_dataset(path: DatasetPath) -> Response:
    with reading() as session:
        dataset = datasets.get(session, caller().tenant_id, path.id)
    return jsonify(show_dataset(dataset).model_dump(mode="json"))


@blueprint.get(
    "/<string:id>/sheet",
    responses=answers(*datasets.SHEETS.values()),
    summary="Fetch a data set's sample sheet",
)
@needs(Scope.READ)
def get_sheet(path: DatasetPath) -> AnyResponse:
    return _send(path.id, datasets.sheet_of, "has no sample sheet yet")


@blueprint.get(
    "/<string:id>/outputs",
    responses=answers(BINARY),
    summary="Fetch which outputs a data set was made from, a line for each",
)
@needs(Scope.READ)
def get_dataset_outputs(path: DatasetPath) -> AnyResponse:
    return _send(path.id, datasets.outputs_of, "was made from no outputs, or is not ready yet")


def _send(
    id_: str, find: Callable[[Dataset], datasets.Attachment | None], otherwise: str
) -> AnyResponse:
    """A file that belongs to a data set. Raises NotFound."""
    with reading() as session:
        found = find(datasets.get(session, caller().tenant_id, id_))
    if found is None:
        raise NotFound(f"Data set {id_} {otherwise}.")
    return send(found.key, found.filename, found.media_type)
