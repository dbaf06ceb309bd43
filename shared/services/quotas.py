"""Quotas: what a tenant may have waiting and stored, and what the installation may have waiting in
all; looked at before anything is accepted.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.errors import Overloaded, QueueFull, StorageFull
from shared.settings import settings

# Counters, not items: one row a tenant and lane, and one for each of its paused jobs.
_WAITING = text("""
    SELECT max_queued AS max_items, max_bytes IS NOT NULL AS has_max_bytes,
        max_compute_seconds IS NOT NULL OR EXISTS (SELECT FROM keys
            WHERE keys.id = :key AND keys.max_compute_seconds IS NOT NULL) AS has_budget,
        -- What is paused stands in no flow, and counts too.
        (SELECT coalesce(sum(queued), 0) FROM flows WHERE tenant_id = :tenant)
        + (SELECT coalesce(sum(queued), 0) FROM jobs
            WHERE tenant_id = :tenant AND state = 'paused') AS items,
        (SELECT coalesce(sum(queued), 0) FROM wall.flows_of_all) AS all_items
    FROM tenants WHERE id = :tenant
""")

_STORED = text("""
    SELECT max_bytes, CASE WHEN max_bytes IS NULL THEN 0 ELSE
        (SELECT coalesce(sum(bytes), 0) FROM flows WHERE tenant_id = tenants.id)
        + (SELECT coalesce(sum(bytes), 0) FROM files WHERE tenant_id = tenants.id)
        -- An upload that goes on takes all that was announced, before its parts have come.
        + (SELECT coalesce(sum(CASE WHEN state = 'pending' AND expires_at > now()
                THEN greatest(bytes, stored) ELSE stored END), 0)
            FROM uploads WHERE tenant_id = tenants.id)
    END AS bytes
    FROM tenants WHERE id = :tenant
""")
_ONE_AT_A_TIME = text("SELECT 1 FROM tenants WHERE id = :tenant FOR NO KEY UPDATE")


@dataclass(frozen=True)
class Room:
    """There is room for what was asked about, as far as quotas go."""

    has_budget: bool
    """Whether a budget is to be looked at too."""


def check_room(session: Session, tenant_id: str, items: int, key_id: str | None = None) -> Room:
    """Whether so many more items may wait, which a key asks for. Raises QueueFull, StorageFull or
    Overloaded.
    """
    found = session.execute(_WAITING, {"tenant": tenant_id, "key": key_id}).one()
    limit = found.max_items if found.max_items is not None else settings().tenant_max_queued
    if found.items + items > limit:
        raise QueueFull(
            f"{found.items} of your items wait and {items} more would pass the limit of {limit}; "
            "send them when some are done."
        )
    if found.all_items + items > settings().max_queued:
        raise Overloaded
    if found.has_max_bytes:
        check_bytes(session, tenant_id, 0)
    return Room(found.has_budget)


def take_bytes(session: Session, tenant_id: str, more: int) -> None:
    """As `check_bytes`, and nobody else takes bytes of this tenant until the transaction is over.

    Raises StorageFull.
    """
    session.execute(_ONE_AT_A_TIME, {"tenant": tenant_id})
    check_bytes(session, tenant_id, more)


def check_bytes(session: Session, tenant_id: str, more: int) -> None:
    """Whether a tenant may store so many more bytes of files. Raises StorageFull."""
    found = session.execute(_STORED, {"tenant": tenant_id}).one()
    if found.max_bytes is not None and found.bytes + more > found.max_bytes:
        raise StorageFull(
            f"{found.bytes} bytes of files and outputs are stored, and the limit is "
            f"{found.max_bytes}; delete files that you no longer need."
        )
