"""Usage: what a tenant's keys used by day, model and key, and how this month's budgets stand."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.auth import caller, needs
from api.queries import Query
from shared.db import reading
from shared.services import budgets, usage
from shared.services.budgets import Budget
from shared.services.usage import Group, Period
from shared.states import Scope

blueprint = APIBlueprint(
    "usage",
    __name__,
    url_prefix="/api/v1/usage",
    abp_tags=[
        Tag(
            name="usage",
            description="What was used by day, model and key, and what of budgets is left.",
        )
    ],
    abp_security=[{"key": []}],
)


def _as_written(sent: Any) -> Any:
    """Pydantic would take a number of seconds too."""
    if isinstance(sent, str) and not _DAY.fullmatch(sent):
        raise ValueError("must be a day such as 2026-03-31")
    return sent


_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
Day = Annotated[date, BeforeValidator(_as_written)]


class UsageQuery(Query):
    """Which days, and what its rows are told apart by."""

    first: Day | None = Field(
        None, alias="from", description="First day, in UTC; absent: the first of the month of `to`."
    )
    last: Day | None = Field(None, alias="to", description="Last day; absent: today.")
    group_by: list[Group] = Field(
        [Group.DAY],
        min_length=1,
        max_length=3,
        description="May be given several times: `group_by=day&group_by=model`.",
    )

    def period(self) -> Period:
        last = self.last or datetime.now(UTC).date()
        return Period(self.first or last.replace(day=1), last)


class UsageRow(BaseModel):
    """Sums of one day, model and key; what was not asked for is null."""

    day: date | None
    model: str | None = Field(description="Null too for work without a model.")
    key: str | None = Field(description="The key's id; null too where it is not known.")
    compute_seconds: float
    items_done: int
    items_failed: int = Field(description="An item that is retried counts each time it fails.")
    outputs: int
    bytes: int
    input_tokens: int
    output_tokens: int


class BudgetRow(BaseModel):
    """How a budget of this month stands, in compute seconds."""

    of: Literal["tenant", "key"] = Field(description="The tenant's, or that of the asking key.")
    max_compute_seconds: int
    spent: float
    reserved: float = Field(description="Expected of what waits and runs.")
    remaining: float


class UsageAnswer(BaseModel):
    """What was used in a period."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    object: Literal["usage"] = "usage"
    first: date = Field(alias="from")
    last: date = Field(alias="to")
    group_by: list[Group]
    data: list[UsageRow]
    budgets: list[BudgetRow] = Field(description="Of this calendar month.")


@blueprint.get("", responses={200: UsageAnswer}, summary="See what was used")
@needs(Scope.READ)
def get_usage(query: UsageQuery) -> Response:
    period = query.period()
    with reading() as session:
        rows = usage.report(session, caller().tenant_id, period, query.group_by)
        standing = budgets.standing(session, caller().tenant_id, caller().key_id)
    answer = UsageAnswer(
        first=period.first,
        last=period.last,
        group_by=[group for group in Group if group in query.group_by],
        data=[_show(row) for row in rows],
        budgets=[_show_budget(budget) for budget in standing],
    )
    return jsonify(answer.model_dump(mode="json"))


def _show(row: Any) -> UsageRow:
    shown = {name: getattr(row, name) for name in UsageRow.model_fields if name != "key"}
    shown["compute_seconds"] = round(row.compute_seconds, 3)
    return UsageRow(key=row.key_id, **shown)


def _show_budget(budget: Budget) -> BudgetRow:
    return BudgetRow(
        of=budget.of,
        max_compute_seconds=budget.limit,
        spent=round(budget.spent, 3),
        reserved=round(budget.reserved, 3),
        remaining=round(budget.remaining, 3),
    )
