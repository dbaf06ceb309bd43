"""A lease's life while its items run: renewal, the stop flag, and asking it to stop."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.settings import settings
from shared.states import Stage, Stop

_RENEW = text("""
    UPDATE leases SET expires_at = now() + make_interval(secs => :lease_s), stage = :stage
    WHERE token = :token
""")
_STOP = text("SELECT coalesce(stop, '') FROM leases WHERE token = :token")
_ASK = text(
    "UPDATE leases SET stop = :stop WHERE items && cast(:items AS bigint[]) AND stop IS NULL"
)
_ASK_WORKER = text("UPDATE leases SET stop = :stop WHERE worker = :worker AND stop IS NULL")


def renew(session: Session, token: UUID, stage: Stage) -> bool:
    """Prolong a lease. False: it is gone, and whoever holds the token must stop."""
    names = {"token": token, "stage": stage, "lease_s": settings().lease_seconds}
    return session.execute(_RENEW, names).rowcount == 1  # type: ignore[attr-defined]


def stop_flag(session: Session, token: UUID) -> Stop | None:
    """Why the lease was asked to stop, if it was; a lease that is gone counts as a shutdown."""
    flag = session.execute(_STOP, {"token": token}).scalar_one_or_none()
    if flag is None:
        return Stop.SHUTDOWN
    return Stop(flag) if flag else None


def ask_items(session: Session, items: Sequence[int], stop: Stop) -> None:
    """Ask the leases that hold any of these items to stop."""
    session.execute(_ASK, {"items": list(items), "stop": stop})


def ask_worker(session: Session, worker: str, stop: Stop) -> int:
    """Ask a worker's leases to stop. Returns how many there were."""
    return session.execute(_ASK_WORKER, {"worker": worker, "stop": stop}).rowcount  # type: ignore[attr-defined]
