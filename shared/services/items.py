"""Items: checked and completed as clients send them, and looked at once they are in the ledger."""

import json
import random
import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from shared import catalog
from shared.errors import (
    IntegrityError,
    Invalid,
    ItemFailed,
    Permanent,
    Retryable,
    StorageUnavailable,
)
from shared.family import ItemParams
from shared.services.invalid import as_sent, invalid
from shared.services.ledger.accept import NewItem
from shared.services.pages import Cursor, Page, having, page
from shared.states import ItemState, Step
from shared.tables.job import Item, Job
from shared.tables.model import Model, ModelVersion
from shared.tables.output import Output

MAX_CUSTOM_ID = 255
"""Most characters of a client's own id of an item."""
MOST_FAULTS = 100
_SHOWN_FAULTS = 20
_PAGE = 200
"""Items that are read at once where all of a job are."""

_OURS = frozenset(
    {None, "internal", "crashed", Retryable.code, StorageUnavailable.code, IntegrityError.code}
)
"""Codes of faults that are the installation's; any other is of what was asked."""

_Fault = TypeVar("_Fault", bound=Permanent)

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""What PostgreSQL cannot store: NUL, and halves of surrogate pairs."""
_NUL_IN_JSON = "\\u0000"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One generation item as the client sent it."""

    params: dict[str, Any]
    custom_id: str | None = None
    line: int | None = None
    """Its line in the input file, if it comes from one."""
    form: dict[str, Any] | None = None
    """What of its request to an endpoint shapes only the answer."""
    field: str = "params"
    """What its parameters are called where the client wrote them."""
    names: Mapping[str, str] | None = None
    """What the client calls some of them, where that differs."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one item."""

    error: Permanent
    line: int | None = None
    """Its line in the input file, if it comes from one."""


class Items(Protocol):
    """Items of one request: how many, and one after the other.

    They are gone through once: those of a body are let go of while they are read.
    """

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Wanted | Fault]: ...


class InvalidItems(Invalid):
    """Items that cannot be used, each with its fault."""

    def __init__(self, faults: Sequence[Fault]):
        messages = [fault.error.message for fault in faults[:_SHOWN_FAULTS]]
        if len(faults) > _SHOWN_FAULTS:
            messages.append("and more")
        super().__init__("; ".join(messages), param=faults[0].error.param)
        self.code = faults[0].error.code
        self.faults = faults


def check_items(
    wanted: Iterable[Wanted | Fault], kind: str, model: Model, version: ModelVersion
) -> Iterator[NewItem]:
    """Items ready to be queued, their parameters complete, one by one as they are checked.

    Raises InvalidItems naming the faulty ones, up to 100 of them, at the end: whoever queues items
    as they come must undo that then, as the end of a transaction does.
    """
    check = _Check(catalog.family(model.family).params(kind), version)
    faults: list[Fault] = []
    for position, item in enumerate(wanted):
        if isinstance(item, Fault):
            faults.append(item)
        else:
            try:
                ready = check.checked(item)
            except ValidationError as error:
                where = (_place(item, position), item.field)
                faults.append(Fault(invalid(error, *where, names=item.names), item.line))
            except Invalid as error:
                faults.append(Fault(within(_place(item, position), error), item.line))
            else:
                yield ready
        if len(faults) == MOST_FAULTS:
            break
    if faults:
        raise InvalidItems(faults)


def _place(item: Wanted, position: int) -> str:
    return f"items[{position}]" if item.line is None else f"line {item.line}"


class _Check:
    """Checks the items of one request, of which there may be a hundred thousand."""

    def __init__(self, params: type[ItemParams], version: ModelVersion):
        self.params = params
        self.has_seed = "seed" in params.model_fields
        self.version_id, self.config = version.id, version.config
        self.seen: set[str] = set()
        # Seeds need not be secret, only different.
        self.seeds = random.Random(secrets.randbits(128))  # noqa: S311

    def checked(self, item: Wanted) -> NewItem:
        """The item, ready to be queued. Raises ValidationError or Invalid without its place."""
        if item.custom_id is not None:
            self._check_custom_id(item.custom_id)
        raw = item.params
        if self.has_seed and raw.get("seed") is None:
            raw = {**raw, "seed": self.seeds.getrandbits(32)}
        params = self.params.model_validate(raw)
        told = params.model_dump_json()
        try:
            params.check(self.config)
            _check_storable(params, told)
        except Invalid as error:
            raise within(item.field, as_sent(error, item.names)) from None
        return NewItem(
            params=told,
            custom_id=item.custom_id,
            batch_key=f"{self.version_id}:{params.batch_shape()}",
            cost=params.cost(),
            form=_form(item),
        )

    def _check_custom_id(self, custom_id: str) -> None:
        if len(custom_id) > MAX_CUSTOM_ID:
            raise Invalid(f"custom_id: longer than {MAX_CUSTOM_ID} characters", param="custom_id")
        if _UNSTORABLE.search(custom_id):
            raise Invalid("custom_id: holds a character that cannot be stored", param="custom_id")
        if custom_id in self.seen:
            raise Invalid(f"custom_id: {custom_id!r} occurs twice", param="custom_id")
        self.seen.add(custom_id)


def _form(item: Wanted) -> str | None:
    """What is kept of a request for its answer: its form, and its own names, should it fail."""
    if not item.form and not item.names:
        return None
    names = {"names": dict(item.names)} if item.names else {}
    return json.dumps({**(item.form or {}), **names})


def _check_storable(params: ItemParams, told: str) -> None:
    """Raises Invalid naming the parameter in whose text there is NUL."""
    if not _holds_nul(told):
        return
    for name, value in params.model_dump(mode="json").items():
        if _holds_nul(json.dumps(value)):
            raise Invalid(f"{name}: a text holds the character NUL", param=name)


def _holds_nul(told: str) -> bool:
    return _NUL_IN_JSON in told and _NUL_IN_JSON in told.replace("\\\\", "")


def within(where: str, error: _Fault) -> _Fault:
    """The same fault, said of a field below another one."""
    param = f"{where}.{error.param}" if error.param else where
    return type(error)(f"{where}.{error.message}", param=param)


@dataclass(frozen=True)
class Filter:
    """Which items of a job are wanted."""

    state: ItemState | None = None
    custom_id: str | None = None


def list_items(
    session: Session, job: Job, cursor: Cursor, only: Filter | None = None
) -> Page[Item]:
    """A page of a job's items."""
    only = only or Filter()
    if only.state is not None and getattr(job, only.state) == 0:
        return Page([], has_more=False)
    chosen = select(Item).where(Item.job_id == job.id, Item.step == Step.RUN)
    chosen = having(chosen, {Item.state: only.state, Item.custom_id: only.custom_id})
    return page(session, chosen, Item.id, cursor)


def done_items(session: Session, job: Job) -> Iterator[tuple[Item, list[Output]]]:
    """A job's items that are done, in input order, each with its outputs. Memory stays flat."""
    for items in _pages(session, job, Item.state == ItemState.DONE, _PAGE):
        made = _outputs_of(session, items)
        yield from ((item, made[item.id]) for item in items)


def undone_items(session: Session, job: Job, page_size: int = _PAGE) -> Iterator[Item]:
    """A job's items that are not done, in input order. Memory stays flat."""
    for items in _pages(session, job, Item.state != ItemState.DONE, page_size):
        yield from items


def failure_of(item: Item) -> ItemFailed:
    """Why an item is not done, as whoever waits for it is told: the fault is ours, or that of what
    was asked.
    """
    error = item.error or {}
    message = error.get("message", f"The item was {item.state}.")
    failed = ItemFailed(message, param=error.get("param"))
    if error.get("code") not in _OURS:
        failed.status, failed.code = 400, error["code"]
    return as_sent(failed, (item.form or {}).get("names"))


def _pages(
    session: Session, job: Job, only: ColumnElement[bool], size: int
) -> Iterator[Sequence[Item]]:
    """Pages by id, which rises with `seq`: no transaction need stay open between them."""
    last = 0
    chosen = select(Item).where(Item.job_id == job.id, Item.step == Step.RUN, only)
    while items := session.scalars(
        chosen.where(Item.id > last).order_by(Item.id).limit(size)
    ).all():
        yield items
        last = items[-1].id


def _outputs_of(session: Session, items: Sequence[Item]) -> dict[int, list[Output]]:
    """Outputs by item, each item's in order."""
    chosen = select(Output).where(Output.item_id.in_([item.id for item in items]))
    found: dict[int, list[Output]] = defaultdict(list)
    for output in session.scalars(chosen.order_by(Output.item_id, Output.index)):
        found[output.item_id].append(output)
    return found
