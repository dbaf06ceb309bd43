"""Lists: what a client may ask of one, and the one shape in which every list is answered."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal

from flask import Response, jsonify
from pydantic import BaseModel, Field
from typing_extensions import TypeVar

from api.queries import Query
from api.times import LAST_SECOND
from shared.ids import ITEM_PREFIX, id_pattern
from shared.services.pages import Cursor, Page, Period

Row = TypeVar("Row")
Shown = TypeVar("Shown", bound=BaseModel)
Id = TypeVar("Id", bound=str, default=str)
"""The form of a list's ids: another noun's is refused, not taken for the end of the list."""

JobId = Annotated[str, Field(pattern=id_pattern("job"))]
DatasetId = Annotated[str, Field(pattern=id_pattern("dataset"))]
FileId = Annotated[str, Field(pattern=id_pattern("file"))]
ItemId = Annotated[str, Field(pattern=f"^{ITEM_PREFIX}[0-9]{{1,18}}$")]
KeyId = Annotated[str, Field(pattern=id_pattern("key"))]
ModelId = Annotated[str, Field(pattern=id_pattern("model"))]
OutputId = Annotated[str, Field(pattern=id_pattern("output"))]
VerdictId = Annotated[str, Field(pattern=id_pattern("verdict"))]
WebhookId = Annotated[str, Field(pattern=id_pattern("webhook"))]


class ListQuery(Query, Generic[Id]):
    """Which page of a list is wanted."""

    after: Id | None = Field(None, description="The id after which the page begins.")
    before: Id | None = Field(None, description="The id before which the page ends.")
    limit: int = Field(20, ge=1, le=100, description="Most rows of the page.")
    order: Literal["asc", "desc"] = Field("desc", description="By time of making.")

    def cursor(self, key: Callable[[str], Any] = str) -> Cursor:
        """The cursor; `key` turns a public id, whose form was checked, into what the list is
        ordered by.
        """
        return Cursor(
            after=None if self.after is None else key(self.after),
            before=None if self.before is None else key(self.before),
            limit=self.limit,
            order=self.order,
        )


class PeriodQuery(ListQuery[Id], Generic[Id]):
    """Which page of a list is wanted, of what was made in a time."""

    created_after: int | None = Field(
        None, ge=0, le=LAST_SECOND, description="Made then or later, in seconds since 1970."
    )
    created_before: int | None = Field(
        None, ge=0, le=LAST_SECOND, description="Made before then, in seconds since 1970."
    )

    def period(self) -> Period:
        """The time."""
        return Period(_moment(self.created_after), _moment(self.created_before))


def _moment(second: int | None) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(second, UTC)


class ListAnswer(BaseModel, Generic[Shown]):
    """One page of rows."""

    object: Literal["list"] = "list"
    data: list[Shown]
    first_id: str | None
    last_id: str | None
    has_more: bool = Field(description="Whether there are rows after these, as they are ordered.")

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """`JobList` for a list of `JobAnswer`: what the document calls it."""
        return f"{params[0].__name__.removesuffix('Answer')}List"


def answer_list(found: Page[Row], show: Callable[[Row], Shown]) -> Response:
    """A page as JSON, each row as `show` gives it; every such model has an `id`."""
    data = [show(row).model_dump(mode="json") for row in found.rows]
    page = {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": found.has_more,
    }
    return jsonify(page)
