"""Back to the queue: after a release, an error that may pass, or a crash."""

import random
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 300.0

_REQUEUE = text("""
    WITH back AS (
        UPDATE items SET state = 'queued', lease_token = NULL,
            attempt = attempt - cast(:refund AS int), crashes = crashes + cast(:crash AS int),
            -- Suspected of crashing its worker: alone from now on, so that its neighbours finish.
            batch_key = CASE WHEN crashes + cast(:crash AS int) >= 2
                THEN 'alone:' || id ELSE batch_key END
        WHERE id = ANY(:items) AND lease_token = :token AND state = 'running'
        RETURNING id, flow_id, priority, batch_key, cost
    )
    INSERT INTO queue (item_id, flow_id, rank, batch_key, cost, available_at)
    SELECT id, flow_id, -priority, batch_key, cost, now() + make_interval(secs => :delay_s)
    FROM back
""")


def requeue(
    session: Session,
    items: Sequence[int],
    token: UUID,
    *,
    delay_s: float = 0.0,
    refund: bool = False,
    crash: bool = False,
) -> None:
    """Queue running items of a lease again. `refund` gives the attempt back; `crash` counts one."""
    names = {"items": list(items), "token": token, "delay_s": delay_s}
    session.execute(_REQUEUE, names | {"refund": int(refund), "crash": int(crash)})


def backoff_s(attempt: int) -> float:
    """Pause before the next attempt, in seconds: doubling, with full jitter, so that crowds
    disperse.
    """
    ceiling = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (attempt - 1))
    return random.uniform(ceiling / 4, ceiling)  # noqa: S311 - jitter needs no secrecy
