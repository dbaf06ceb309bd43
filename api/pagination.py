"""Lists: what a client may ask of one, and the one shape in which every list is answered."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from flask import Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from shared.services.pages import Cursor, Page

Row = TypeVar("Row")


class ListQuery(BaseModel):
    """Which page of a list is wanted."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = Field(None, description="The id after which the page begins.")
    before: str | None = Field(None, description="The id before which the page ends.")
    limit: int = Field(20, ge=1, le=100, description="Most rows of the page.")
    order: Literal["asc", "desc"] = Field("desc", description="By time of making.")

    def cursor(self, key: Callable[[str], Any] = str) -> Cursor:
        """The cursor; `key` turns a public id into what the list is ordered by."""
        return Cursor(
            after=key(self.after) if self.after is not None else None,
            before=key(self.before) if self.before is not None else None,
            limit=self.limit,
            order=self.order,
        )


class ListAnswer(BaseModel):
    """One page."""

    object: Literal["list"] = "list"
    data: list[Any]
    first_id: str | None
    last_id: str | None
    has_more: bool


def answer_list(found: Page[Row], show: Callable[[Row], BaseModel]) -> Response:
    """A page as JSON, each row as `show` gives it; every such model has an `id`."""
    data = [show(row).model_dump(mode="json") for row in found.rows]
    page = ListAnswer(
        data=data,
        first_id=data[0]["id"] if data else None,
        last_id=data[-1]["id"] if data else None,
        has_more=found.has_more,
    )
    return jsonify(page.model_dump(mode="json"))
