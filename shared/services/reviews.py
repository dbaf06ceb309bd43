"""Reviews: the queue of outputs nobody has judged, and the verdicts on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from shared.errors import Conflict, Invalid, NotFound
from shared.ids import new_id
from shared.preparation import JudgedOutputs
from shared.services import outputs
from shared.services.outputs import MediaType
from shared.services.pages import ALWAYS, Cursor, Page, Period, having, made_within, page
from shared.states import Decision, Modality, OutputState
from shared.tables.job import Item, Job
from shared.tables.output import Output, Verdict

Tag = Literal[
    "wrong label", "artefacts", "blurred", "repetitive", "nonsense", "off topic", "unsafe"
]
TAGS: tuple[str, ...] = get_args(Tag)
"""Reasons that reviewers may tick."""

MAX_NOTE = 2000
"""Most characters of a note."""

_AFTER = {Decision.APPROVE: OutputState.APPROVED, Decision.REJECT: OutputState.REJECTED}
_MADE_AS = {Modality.IMAGE: MediaType.PNG, Modality.TEXT: MediaType.TEXT}
_COUNTED_UP_TO = 1000


_TAKEN = {
    OutputState.APPROVED: "Somebody else has approved this output already.",
    OutputState.REJECTED: "Somebody else has rejected this output already.",
    OutputState.UNREVIEWED: "There is nothing in this output for people to judge.",
    OutputState.RELEASED: "Somebody else has judged this output meanwhile.",
}


@dataclass(frozen=True)
class Reviewer:
    """Who decides: a person in the dashboard, or an API key."""

    tenant_id: str
    user_id: str | None = None
    key_id: str | None = None

    def gave(self, verdict: Verdict) -> bool:
        return (verdict.user_id, verdict.key_id) == (self.user_id, self.key_id)


@dataclass(frozen=True)
class NewVerdict:
    """What a reviewer sends."""

    decision: Decision
    rating: int | None = None
    tags: Sequence[str] = ()
    note: str = ""


def next_output(
    session: Session, tenant_id: str, model: str | None, after: str | None = None
) -> Output | None:
    """The oldest output that nobody has judged; after another one, to skip it."""
    chosen = select(Output).where(
        Output.tenant_id == tenant_id, Output.state == OutputState.RELEASED
    )
    if model is not None:
        chosen = chosen.join(Job, Job.id == Output.job_id).where(Job.model == model)
    if after is not None:
        chosen = chosen.where(Output.id > after)
    return session.scalar(chosen.order_by(Output.id).limit(1))


def waiting(session: Session, tenant_id: str) -> int:
    """How many outputs wait for a verdict, counted up to a thousand."""
    some = (
        select(Output.id)
        .where(Output.tenant_id == tenant_id, Output.state == OutputState.RELEASED)
        .limit(_COUNTED_UP_TO)
        .subquery()
    )
    return session.scalar(select(func.count()).select_from(some)) or 0


def judge(session: Session, reviewer: Reviewer, output_id: str, new: NewVerdict) -> Verdict:
    """Append a verdict and move the output to the state it means.

    Raises NotFound, Invalid, or Conflict when the output waits for none.
    """
    if new.rating is not None and not 1 <= new.rating <= 5:
        raise Invalid("rating: from 1 to 5 stars", param="rating")
    unknown = set(new.tags) - set(TAGS)
    if unknown:
        raise Invalid(
            f"tags: {', '.join(sorted(unknown))}: not among {', '.join(TAGS)}", param="tags"
        )
    output = outputs.get(session, reviewer.tenant_id, output_id, param="output")
    _move(session, output, OutputState.RELEASED, _AFTER[new.decision])
    return _append(session, reviewer, output, new)


def withdraw(session: Session, reviewer: Reviewer, output_id: str) -> Verdict:
    """Take back one's own last verdict on an output.

    Raises NotFound, or Conflict if there is none.
    """
    output = outputs.get(session, reviewer.tenant_id, output_id, param="output")
    # Nobody else's verdict comes between the look at the last one and the change of state.
    session.refresh(output, with_for_update=True)
    verdicts = verdicts_on(session, output)
    last = verdicts[0] if verdicts else None
    if last is None or not reviewer.gave(last) or last.decision == Decision.WITHDRAW:
        raise Conflict("There is no verdict of yours on this output to take back.")
    _move(session, output, _AFTER[Decision(last.decision)], OutputState.RELEASED)
    return _append(session, reviewer, output, NewVerdict(Decision.WITHDRAW))


def verdicts_on(session: Session, output: Output) -> Sequence[Verdict]:
    """All verdicts on an output, newest first."""
    chosen = select(Verdict).where(Verdict.output_id == output.id)
    return session.scalars(chosen.order_by(Verdict.id.desc())).all()


@dataclass(frozen=True)
class Filter:
    """Which verdicts of a list are wanted."""

    output_id: str | None = None
    decision: Decision | None = None
    model: str | None = None
    """A model's name, or `name@version`."""
    period: Period = ALWAYS


def list_verdicts(session: Session, tenant_id: str, cursor: Cursor, only: Filter) -> Page[Verdict]:
    """A page of a tenant's verdicts."""
    chosen = select(Verdict).where(Verdict.tenant_id == tenant_id)
    wanted = {Verdict.output_id: only.output_id, Verdict.decision: only.decision}
    chosen = made_within(having(chosen, wanted), Verdict, "verdict", only.period)
    if only.model is not None:
        judged = select(Output.id).where(
            Output.id == Verdict.output_id, outputs.made_by(tenant_id, only.model)
        )
        chosen = chosen.where(judged.exists())
    return page(session, chosen, Verdict.id, cursor)


def get(session: Session, tenant_id: str, id_: str) -> Verdict:
    """A tenant's verdict. Raises NotFound."""
    found = session.scalar(select(Verdict).where(Verdict.id == id_, Verdict.tenant_id == tenant_id))
    if found is None:
        raise NotFound(f"No review {id_!r}.")
    return found


@dataclass(frozen=True)
class Judged:
    """An output with what it was asked for by, and the verdict that made it what it is."""

    output: Output
    params: dict[str, Any]
    verdict_id: str


def judged(
    session: Session,
    tenant_id: str,
    modality: Modality,
    only: JudgedOutputs,
    after: str = "",
    most: int = 1,
) -> Sequence[Judged]:
    """The next of a tenant's outputs that stand as judged, by id."""
    last = select(func.max(Verdict.id)).where(Verdict.output_id == Output.id).scalar_subquery()
    chosen = (
        select(Output, Item.params, last)
        .join(Item, Item.id == Output.item_id)
        .where(
            Output.tenant_id == tenant_id,
            Output.state == only.verdict,
            Output.media_type == _MADE_AS[modality],
            Output.id > after,
        )
    )
    if only.job is not None:
        chosen = chosen.where(Output.job_id == only.job)
    if only.model is not None:
        chosen = chosen.where(outputs.made_by(tenant_id, only.model))
    rows = session.execute(chosen.order_by(Output.id).limit(most))
    return [Judged(*row) for row in rows]


def _move(session: Session, output: Output, expected: OutputState, state: OutputState) -> None:
    guarded = update(Output).where(Output.id == output.id, Output.state == expected)
    if session.execute(guarded.values(state=state)).rowcount != 1:  # type: ignore[attr-defined]
        session.refresh(output)
        raise Conflict(_TAKEN[OutputState(output.state)], param="output")


def _append(session: Session, reviewer: Reviewer, output: Output, new: NewVerdict) -> Verdict:
    verdict = Verdict(
        id=new_id("verdict"),
        output_id=output.id,
        user_id=reviewer.user_id,
        key_id=reviewer.key_id,
        decision=new.decision,
        rating=new.rating,
        tags=list(new.tags),
        note=new.note,
    )
    session.add(verdict)
    session.flush()
    return verdict
