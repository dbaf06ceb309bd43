"""A lease's life while its items run: renewal, and whether it is to stop."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.settings import settings
from shared.states import Stage, Stop

_RENEW = text("""
    UPDATE leases SET expires_at = now() + make_interval(secs => :lease_s), stage = :stage,
        log = :log
    WHERE token = :token
""")
# Cancel and pause need no flag of their own: they are the state of a job or of the lane.
_STOP = text("""
    SELECT CASE
        WHEN 'cancelling' = ANY(held.states) THEN 'cancel'
        WHEN 'paused' = ANY(held.states) OR EXISTS (
            SELECT FROM paused_lanes WHERE paused_lanes.lane = leases.lane) THEN 'pause'
        ELSE '' END
    FROM leases CROSS JOIN LATERAL (
        SELECT array_agg(DISTINCT jobs.state) AS states
        FROM items JOIN jobs ON jobs.id = items.job_id WHERE items.id = ANY(leases.items)
    ) held
    WHERE leases.token = :token
""")
_LOST = text("""
    UPDATE leases SET expires_at = now() - interval '1 second',
        log = concat_ws(E'\\n', nullif(log, ''), cast(:why AS text))
    WHERE worker = :worker AND expires_at > now()
""")


def renew(session: Session, token: UUID, stage: Stage, log: str = "") -> bool:
    """Prolong a lease, and keep what its worker last logged, should it be the last.

    False: it is gone, and whoever holds the token must stop.
    """
    names = {"token": token, "stage": stage, "log": log, "lease_s": settings().lease_seconds}
    return session.execute(_RENEW, names).rowcount == 1  # type: ignore[attr-defined]


def stop_flag(session: Session, token: UUID) -> Stop | None:
    """Why a lease is to stop, if it is; a lease that is gone counts as a shutdown."""
    flag = session.execute(_STOP, {"token": token}).scalar_one_or_none()
    if flag is None:
        return Stop.SHUTDOWN
    return Stop(flag) if flag else None


def lose_worker(session: Session, worker: str, why: str) -> None:
    """Let a worker's leases expire at once: the process that held them has ended."""
    session.execute(_LOST, {"worker": worker, "why": why})
