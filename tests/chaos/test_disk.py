"""A worker whose disk is full: its items wait, at no cost, until there is room."""

from pathlib import Path

import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.queues import hint
from shared.services import workers
from shared.states import Lane
from shared.storage import FolderStorage
from shared.tables.tenant import Tenant
from tests.chaos.disk import small_disk
from tests.chaos.processes import WORKER, running, sweeper
from tests.chaos.soundness import all_faults, changes, watching
from tests.ledger import look, submit
from tests.waiting import until


def is_up() -> bool:
    with transaction() as session:
        return bool(workers.alive(session))


def count(query: str) -> int:
    with transaction() as session:
        return int(session.execute(text(f"SELECT count(*) FROM {query}")).scalar_one())


def released() -> int:
    """How many items went back to the queue."""
    return count("(SELECT DISTINCT item_id FROM watched WHERE became = 'queued') AS items")


@pytest.mark.usefixtures("stand_in")
def test_items_wait_while_the_disk_is_full_and_are_done_at_their_first_attempt_after_it(
    tenant: Tenant, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path / "disk", "1m") as disk,
        running(*WORKER, "text", within=disk.within, ATELIER_STORAGE_URL=disk.url),
        sweeper(),
        watching(),
    ):
        until(is_up)
        with disk.full():
            job = submit(tenant.id, [{}] * 16)
            hint(Lane.TEXT)
            until(lambda: released() == 16)
            assert look(job).done == 0
            assert count("outputs") == 0

        until(lambda: look(job).state == "succeeded")
        assert all_faults(FolderStorage(disk.seen)) == {}
        assert changes() == {}
        assert not list(disk.seen.rglob(".put-*")), "what was half written is gone"

    assert count("items WHERE attempt = 1") == 16
    assert count("failures") == 0
