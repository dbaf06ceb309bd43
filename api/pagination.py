"""Lists: what a client may ask of one, and the one shape in which every list is answered."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from flask import Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import Invalid, NotFound
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
            after=_turn("after", self.after, key),
            before=_turn("before", self.before, key),
            limit=self.limit,
            order=self.order,
        )


def _turn(name: str, id_: str | None, key: Callable[[str], Any]) -> Any:
    """An id as what the list is ordered by; None when absent. Raises Invalid naming the field."""
    if id_ is None:
        return None
    try:
        return key(id_)
    except NotFound:
        raise Invalid(f"{name}: {id_!r} is not an id of this list", param=name) from None


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
