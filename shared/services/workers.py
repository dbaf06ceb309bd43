"""Workers as they report themselves, and lanes as they stand: what the overview shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.services.ledger.pause import paused_lanes
from shared.states import Lane
from shared.tables.ledger import Worker

_LANES = text("""
    SELECT lane, sum(queued) AS queued, sum(running) AS running FROM flows
    WHERE tenant_id = :tenant GROUP BY lane
""")


@dataclass(frozen=True)
class LaneLoad:
    """How much of a tenant waits and runs in a lane."""

    lane: Lane
    queued: int
    running: int
    paused: bool


def report(
    session: Session, name: str, lanes: Sequence[Lane], device: str, models: Sequence[str]
) -> None:
    """Say that a worker is alive, and what it holds in memory."""
    values = {"lanes": list(lanes), "device": device, "models": list(models)}
    row = insert(Worker).values(name=name, **values)
    session.execute(
        row.on_conflict_do_update(index_elements=["name"], set_={**values, "seen_at": func.now()})
    )


def alive(session: Session, within_s: float = 60) -> Sequence[Worker]:
    """Workers that reported lately."""
    recent = Worker.seen_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, within_s)
    return session.scalars(select(Worker).where(recent).order_by(Worker.name)).all()


def lane_loads(session: Session, tenant_id: str) -> list[LaneLoad]:
    """Every lane with a tenant's load in it."""
    found = {row.lane: row for row in session.execute(_LANES, {"tenant": tenant_id})}
    paused = set(paused_lanes(session))
    return [
        LaneLoad(lane, int(found[lane].queued), int(found[lane].running), lane in paused)
        if lane in found
        else LaneLoad(lane, 0, 0, lane in paused)
        for lane in Lane
    ]
