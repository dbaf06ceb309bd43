"""Metrics: what processes have counted, and how the ledger stands at this moment."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from shared.tables.metric import Metric

# In one order, so that processes that add at once wait for each other and never for themselves.
_ADD = text("""
    INSERT INTO metrics (name, labels, value)
    SELECT * FROM unnest(
        cast(:names AS text[]), cast(:labels AS text[]), cast(:values AS float8[]))
    ON CONFLICT (name, labels) DO UPDATE SET value = metrics.value + excluded.value
""")

# Views, which tell of all tenants together what row-level security would keep apart.
_LANES = text("SELECT lane, queued, running, claimable_cost, oldest_s FROM wall.lanes")
_PENDING = text("SELECT pending FROM wall.deliveries_of_all")

_WORKERS = text("""
    SELECT lane, count(*) AS workers FROM workers, unnest(lanes) AS lane
    WHERE seen_at > now() - interval '1 minute' GROUP BY lane
""")


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels as the table keeps them."""
    return json.dumps(labels, sort_keys=True)


def add(session: Session, samples: Mapping[tuple[str, str], float]) -> None:
    """Add to samples, by name and labels."""
    keys = sorted(samples)
    names = {
        "names": [name for name, _ in keys],
        "labels": [labels for _, labels in keys],
        "values": [samples[key] for key in keys],
    }
    session.execute(_ADD, names)


def counted(session: Session) -> list[tuple[str, dict[str, str], float]]:
    """Everything that was counted: name, labels, value."""
    rows = session.scalars(select(Metric).order_by(Metric.name, Metric.labels))
    return [(row.name, json.loads(row.labels), row.value) for row in rows]


def lanes(session: Session) -> Sequence[Any]:
    """Each lane in use: queued, running, claimable_cost, and oldest_s of what may be claimed."""
    return session.execute(_LANES).all()


def workers_by_lane(session: Session) -> dict[str, int]:
    """Workers that live, by each lane that they serve."""
    return {row.lane: row.workers for row in session.execute(_WORKERS)}


def pending_deliveries(session: Session) -> int:
    """Webhook events that are still to be taken; no more than 10,000 are counted."""
    return int(session.execute(_PENDING).scalar_one())
