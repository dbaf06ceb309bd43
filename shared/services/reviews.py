"""Reviews: the queue of outputs nobody has judged, and the verdicts on them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from shared.errors import Conflict, Invalid
from shared.ids import new_id
from shared.services import outputs
from shared.states import Decision, OutputState
from shared.tables.job import Job
from shared.tables.output import Output, Verdict
from shared.tables.user import User

TAGS = ("wrong label", "artefacts", "blurred", "repetitive", "nonsense", "off topic", "unsafe")
"""Reasons that reviewers may tick."""

_AFTER = {Decision.APPROVE: OutputState.APPROVED, Decision.REJECT: OutputState.REJECTED}
_COUNTED_UP_TO = 1000


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


def judge(session: Session, user: User, output_id: str, new: NewVerdict) -> Verdict:
    """Append a verdict and move the output to the state it means.

    Raises NotFound, Invalid, or Conflict when somebody else judged the output meanwhile.
    """
    if new.rating is not None and not 1 <= new.rating <= 5:
        raise Invalid("rating: from 1 to 5 stars", param="rating")
    unknown = set(new.tags) - set(TAGS)
    if unknown:
        raise Invalid(
            f"tags: {', '.join(sorted(unknown))}: not among {', '.join(TAGS)}", param="tags"
        )
    output = outputs.get(session, user.tenant_id, output_id)
    _move(session, output, OutputState.RELEASED, _AFTER[new.decision])
    return _append(session, user, output, new)


def withdraw(session: Session, user: User, output_id: str) -> Verdict:
    """Take back one's own last verdict on an output.

    Raises NotFound, or Conflict if there is none.
    """
    output = outputs.get(session, user.tenant_id, output_id)
    verdicts = verdicts_on(session, output)
    last = verdicts[0] if verdicts else None
    if last is None or last.user_id != user.id or last.decision == Decision.WITHDRAW:
        raise Conflict("There is no verdict of yours on this output to take back.")
    _move(session, output, _AFTER[Decision(last.decision)], OutputState.RELEASED)
    return _append(session, user, output, NewVerdict(Decision.WITHDRAW))


def verdicts_on(session: Session, output: Output) -> Sequence[Verdict]:
    """All verdicts on an output, newest first."""
    chosen = select(Verdict).where(Verdict.output_id == output.id)
    return session.scalars(chosen.order_by(Verdict.id.desc())).all()


def _move(session: Session, output: Output, expected: OutputState, state: OutputState) -> None:
    guarded = update(Output).where(Output.id == output.id, Output.state == expected)
    if session.execute(guarded.values(state=state)).rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict("Somebody else has judged this output meanwhile.")


def _append(session: Session, user: User, output: Output, new: NewVerdict) -> Verdict:
    verdict = Verdict(
        id=new_id("verdict"),
        output_id=output.id,
        user_id=user.id,
        decision=new.decision,
        rating=new.rating,
        tags=list(new.tags),
        note=new.note,
    )
    session.add(verdict)
    session.flush()
    return verdict
