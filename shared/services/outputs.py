"""Outputs: lists, one, and its content."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from shared.errors import NotFound
from shared.services import models
from shared.services.pages import ALWAYS, Cursor, Page, Period, having, made_within, page
from shared.states import OutputState
from shared.tables.job import Item, Job
from shared.tables.output import Output


class MediaType(StrEnum):
    """What an output's bytes are."""

    PNG = "image/png"
    TEXT = "text/plain; charset=utf-8"
    VECTORS = "application/vnd.atelier.float32"
    """Rows of float32, little-endian, as many as the output's facts say."""


EXTENSIONS: dict[str, str] = {MediaType.PNG: "png", MediaType.TEXT: "txt", MediaType.VECTORS: "f32"}
"""File name extension by media type."""
MAX_LABEL = 200
"""Most characters of a label by which outputs are found."""
ITEMS_PER_FOLDER = 1000
"""Of a job in storage: few enough that a folder can be looked into, many enough that making folders
costs nothing.
"""


@dataclass(frozen=True)
class Filter:
    """Which outputs of a list are wanted."""

    job_id: str | None = None
    state: OutputState | None = None
    model: str | None = None
    """A model's name, or `name@version`."""
    period: Period = ALWAYS
    media_type: MediaType | None = None
    label: str | None = None
    item_id: int | None = None
    custom_id: str | None = None
    """Of an item of the job, which is then said too."""


def list_outputs(session: Session, tenant_id: str, cursor: Cursor, only: Filter) -> Page[Output]:
    """A page of a tenant's outputs."""
    chosen = select(Output).where(Output.tenant_id == tenant_id)
    wanted = {
        Output.job_id: only.job_id,
        Output.state: only.state,
        Output.media_type: only.media_type,
        Output.label: only.label,
        Output.item_id: only.item_id,
    }
    chosen = having(chosen, wanted)
    chosen = made_within(chosen, Output, "output", only.period)
    if only.model is not None:
        chosen = chosen.where(made_by(tenant_id, only.model))
    if only.custom_id is not None:
        its = select(Item.id).where(Item.job_id == only.job_id, Item.custom_id == only.custom_id)
        chosen = chosen.where(Output.item_id == its.limit(1).scalar_subquery())
    return page(session, chosen, Output.id, cursor)


def made_by(tenant_id: str, model: str) -> ColumnElement[bool]:
    """Whether an output comes from a model, named alone or with a version."""
    versions = models.versions_named(tenant_id, model)
    return Output.job_id.in_(select(Job.id).where(Job.model_version_id.in_(versions)))


def get(session: Session, tenant_id: str, id_: str, *, param: str | None = None) -> Output:
    """A tenant's output. Raises NotFound."""
    found = session.scalar(select(Output).where(Output.id == id_, Output.tenant_id == tenant_id))
    if found is None:
        named = f"{param}: no output {id_!r}" if param else f"No output {id_!r}."
        raise NotFound(named, param=param)
    return found


def with_bytes(session: Session, tenant_id: str, sha256: str) -> Output | None:
    """The first of a tenant's outputs whose bytes have this hash."""
    chosen = select(Output).where(Output.tenant_id == tenant_id, Output.sha256 == sha256)
    return session.scalar(chosen.order_by(Output.id).limit(1))


def items_of(session: Session, outputs: list[Output]) -> dict[int, Item]:
    """The items that made these outputs, by number."""
    chosen = select(Item).where(Item.id.in_({output.item_id for output in outputs}))
    return {item.id: item for item in session.scalars(chosen)}


def of_job(session: Session, job: Job) -> list[tuple[Item, Output]]:
    """A small job's outputs with their items, in input order; for answers of one-off calls."""
    chosen = (
        select(Item, Output)
        .join(Output, Output.item_id == Item.id)
        .where(Item.job_id == job.id)
        .order_by(Item.seq, Output.index)
    )
    return [(row[0], row[1]) for row in session.execute(chosen)]


def filename(output: Output) -> str:
    """What a saved copy should be called."""
    return f"{output.id}.{EXTENSIONS.get(output.media_type, 'bin')}"
