"""Back to the queue: after a release, an error that may pass, or a crash."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.ledger.waiting import RANK

_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 300.0

# The items of a paused job wait outside the queue.
_REQUEUE = text(f"""
    WITH again AS (
        SELECT * FROM unnest(
            cast(:items AS bigint[]), cast(:delays AS float8[]), cast(:refunds AS int[]),
            cast(:crashes AS int[])) AS a (id, delay_s, refund, crash)
    ), back AS (
        UPDATE items SET state = 'queued', lease_token = NULL,
            attempt = attempt - again.refund, crashes = crashes + again.crash,
            -- A claim that puts back what it took a moment before has started nothing.
            started_at = nullif(started_at, now()),
            -- Suspected of crashing its worker: alone from now on, so that its neighbours finish.
            batch_key = CASE WHEN crashes + again.crash >= 2
                THEN 'alone:' || items.id ELSE batch_key END
        FROM again
        WHERE items.id = again.id AND items.lease_token = :token AND items.state = 'running'
        RETURNING items.*, again.delay_s
    )
    INSERT INTO queue (item_id, flow_id, rank, batch_key, cost, available_at)
    SELECT back.id, back.flow_id, {RANK}, back.batch_key, back.cost,
        now() + make_interval(secs => back.delay_s)
    FROM back JOIN jobs ON jobs.id = back.job_id
    WHERE jobs.state <> 'paused'
""")


@dataclass(frozen=True)
class Again:
    """A running item that is to wait once more."""

    item: int
    delay_s: float = 0.0
    refund: bool = False
    """Give its attempt back."""
    crash: bool = False
    """Count a crash."""


def requeue(session: Session, token: UUID, items: Sequence[Again]) -> None:
    """Queue running items of a lease again. Their jobs' rows are locked."""
    names = {
        "token": token,
        "items": [again.item for again in items],
        "delays": [again.delay_s for again in items],
        "refunds": [int(again.refund) for again in items],
        "crashes": [int(again.crash) for again in items],
    }
    session.execute(_REQUEUE, names)


def backoff_s(times: int) -> float:
    """Pause before the next attempt, in seconds, after so many errors or so many crashes: doubling,
    with full jitter, so that crowds disperse.
    """
    ceiling = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (times - 1))
    return random.uniform(ceiling / 4, ceiling)  # noqa: S311 - jitter needs no secrecy
